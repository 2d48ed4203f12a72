"""Tools of the project that are not part of bg: each runs as `python -m tools.NAME`."""
