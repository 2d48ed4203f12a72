"""Running: the scheduler, the box, the actions of melange and apko, the tools; the only room that starts processes."""
