"""`python -m buildgraph`."""

from buildgraph.cli.main import entry

entry()
