"""The workspace as it was at a commit, as a session that writes nothing."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from buildgraph.cli.kept import PARTS
from buildgraph.cli.session import Session
from buildgraph.execute.revision import Revision
from buildgraph.keys.digest import Digest, digest_file
from buildgraph.plan.readings import Readings
from buildgraph.plan.store import RecordStore
from buildgraph.workspace import state as states
from buildgraph.workspace import workspace as workspaces
from buildgraph.workspace.manifest import Manifest, load_manifest
from buildgraph.workspace.stats import Tree


class PastSession(Session, dict=True, kw_only=True):
    """A session on the files of a commit, beside the one on what is there ``now``, whose graph is worked out.

    It begins with what the other has found out, as a session does with what the last run has left: what is known of a file holds
    where the file is the same, the graph where it would come out as it is now.
    """

    now: Session
    revision: Revision

    @cached_property
    def manifest(self) -> Manifest:
        """The commit's own manifest."""
        return load_manifest(self.revision)

    @cached_property
    def state(self) -> states.State:
        """The files of the commit, and what is known if they are nearly those of now."""
        now, same = self.now.state, self.revision.same()
        tree = workspaces.walk(self.manifest, self.revision.scan)
        known = {path: now.digests[path] for path in same & now.digests.keys()}
        state = states.State(tree, known, {}, {name: part for name, part in now.parts.items() if name in PARTS})
        if _names(tree) == _names(now.tree) and self._same_around():
            modes = {path for path, found in tree.files.items() if found[0] != now.tree.files[path][0]}
            differing = (path for path in tree.files.keys() - same if self._is_another(path, now, state))
            self._changed = sorted(modes.union(differing))
        return state

    def _same_around(self) -> bool:
        """Whether the files beside the tree that count, such as keys, are as they are now."""
        root = self.settings.root
        inside = [path for path in self.now.around() if path.is_relative_to(root)]
        return all(_digest(self.revision / str(path.relative_to(root))) == _digest(path) for path in inside)

    @cached_property
    def readings(self) -> Readings:
        """What is known of each YAML file: as now, where it has the same content."""
        found = super().readings
        if found.premises() == self.now.readings.premises():
            found.lines.update(self.now.readings.lines)
        return found

    @cached_property
    def cache_folder(self) -> Path:
        """That of now."""
        return self.now.cache_folder

    @cached_property
    def store(self) -> RecordStore:
        """That of now."""
        return self.now.store

    def key(self, line: str) -> bytes:
        """The public key that a keyring line names: a file's as it was, any other as it is now."""
        if "://" in line or self.now.manifest.mirrored(line) != line:
            return self.now.key(line)
        return (self.revision / line).read_bytes()

    def save_state(self) -> None:
        """Nothing: the state is that of now."""


def _names(tree: Tree) -> tuple[object, ...]:
    return tree.files.keys(), tree.folders.keys(), tree.links, tree.odd, tree.loose


def digest_at(session: Session, path: str) -> Digest | None:
    """The digest of any file of a workspace, in its tree or not; None for one that is not there."""
    return session.digest(path) if path in session.state.tree.files else _digest(session.manifest.root / path)


def _digest(place: Path) -> Digest | None:
    return digest_file(place) if place.is_file() else None
