"""Arguments and wiring; the only room that reads the command line and the environment. Everything else loads when needed."""
