"""The answer to a build that has nothing to do, from the state file and stat alone.

It is given only if the workspace's files, the manifest, the lock, the tools and every output are, as far as stat can tell, what
they were when the same command ended well.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

from buildgraph import __version__
from buildgraph.cli.places import user_cache
from buildgraph.workspace.state import load_state, stamp, state_path
from buildgraph.workspace.tree import unchanged

MANIFEST = "buildgraph.yaml"  # as workspace.manifest has it, which would load the YAML reader


def asked(options: argparse.Namespace, here: Path, environment: Mapping[str, str]) -> str:
    """What was asked, as a key: two commands with the same key have the same answer while nothing changes."""
    said = [options.targets, options.sandbox, options.locked, options.json, str(here), environment.get("BG_CACHE_DIR", "")]
    return json.dumps([*said, *(environment.get(name, "") for name in ("XDG_CONFIG_HOME", "HOME", "PATH"))])


def answer(options: argparse.Namespace, environment: Mapping[str, str]) -> str | None:
    """The output of the build, or None where it has to be looked at in earnest."""
    if options.dry_run:
        return None
    here = Path(os.path.abspath(options.directory or "."))  # noqa: PTH100 - links stay as the user named them
    root = next((folder for folder in (here, *here.parents) if os.path.isfile(folder / MANIFEST)), None)  # noqa: PTH113 - quick
    if root is None:
        return None
    state = load_state(state_path(user_cache(environment), root), __version__)
    build = state.builds.get(asked(options, here, environment))
    if not isinstance(build, dict):
        return None
    try:
        stamps, text = build["stamps"], build["answer"]
        if all(stamp(path) == known for path, known in stamps.items()) and unchanged(root, state.tree):
            return str(text)
    except (KeyError, TypeError, AttributeError):
        return None
    return None
