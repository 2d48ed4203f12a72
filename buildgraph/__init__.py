"""buildgraph: builds apk packages and OCI images with melange and apko, only what is stale, through a shared cache."""

__version__ = "0.1.0"
