"""Talking to servers over HTTP: as whom, through what, and how it failed."""
