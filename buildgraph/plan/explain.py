"""Why something has to run, in the user's words: the difference between the key document of last time and that of now.

Texts that a document names by digest (recipes, pipelines) are compared value by value, so that a reason can name the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from buildgraph.errors import RecipeError
from buildgraph.keys.document import Change, Entry, KeyDocument, difference
from buildgraph.plan.store import Last, RecordStore
from buildgraph.recipes import yamltext
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Node as YamlNode
from buildgraph.recipes.yamltext import Scalar, Sequence
from buildgraph.structs import Struct

NEVER_BUILT = "never built here"
GONE = "its result is not in the cache any more"
FILES_GONE = "files of its result are not in the cache any more"
FORGOTTEN = "what its last build was made of is not in the cache any more"
FOUND = "something changed that it is known to need since it was built, and that no recipe names"
EXECUTABLE = " executable"

# The texts that go into a node's box now, by digest, and the tree of its recipe with the lines that the user sees.
Texts = Callable[[str], Mapping[str, str]]
UserTree = Callable[[str], tuple[str, YamlMapping]]
# The text that a node's key document names by its digest; None where it is not known any more.
Text = Callable[[str, str], str | None]


class Documented(Protocol):
    """A key with the document behind it, which takes time to make."""

    @property
    def document(self) -> KeyDocument:
        """The document."""


class Explainer(Struct, frozen=True):
    """Tells reasons; ``texts`` and ``user_tree`` give what is there now, the store what was there last time."""

    store: RecordStore
    texts: Texts
    user_tree: UserTree

    def reasons(self, name: str, deep: Documented, action: Documented | None) -> tuple[str, ...]:
        """Why a node has to run; the action's document says more than the deep one, where it is known already."""
        last = self.store.last(name)
        if last is None:
            return (NEVER_BUILT,)
        changes = self.changes(last, deep, action)
        if changes is None:
            return (self._not_taken(last, FORGOTTEN),)
        teller = Teller(lambda _, old: self.store.text(old), lambda name, new: self.texts(name).get(new), self.user_tree)
        return teller.tell(name, changes) or (self._not_taken(last, FOUND),)

    def _not_taken(self, last: Last, otherwise: str) -> str:
        """Why the latest result of a node is not taken, as far as the cache tells; else ``otherwise``."""
        tier = self.store.tier_of(last.action)
        if tier is None:
            return GONE
        if self.store.previous(last.action) is None:
            return f"the cache has its result of tier `{tier}`, which a run of tier `{self.store.tier}` does not take"
        return otherwise if self.store.is_here(last.action) else FILES_GONE

    def changes(self, last: Last, deep: Documented, action: Documented | None) -> list[Change] | None:
        """The entries that differ from last time; None where what there was then is gone."""
        if action is not None:
            record = self.store.previous(last.action)
            before = self.store.document(record.document) if record else None
            if before is not None:
                return difference(before, action.document)
        before = self.store.document(last.deep_document)
        return None if before is None else difference(before, deep.document)


class Teller(Struct, frozen=True):
    """Tells what differs between two key documents of a node, whose texts ``old`` and ``new`` give."""

    old: Text
    new: Text
    user_tree: UserTree

    def tell(self, name: str, changes: Iterable[Change]) -> tuple[str, ...]:
        """Changes in words, each line once."""
        return tuple(dict.fromkeys(line for change in changes for line in self._tell(name, change)))

    def _tell(self, name: str, change: Change) -> Iterator[str]:
        match change.section:
            case "recipe" | "pipeline":
                yield from self._tell_text(name, change)
            case "source":
                yield _tell_source(change)
            case "local":
                yield _tell_local(change)
            case "package":
                yield _tell_package(change)
            case "fetched":
                yield _tell_fetched(change)
            case "external":
                yield _tell_external(change)
            case "format":
                shown = change.new or change.old
                yield f"{shown.why if shown else change.name}: {_value(change.old)} -> {_value(change.new)}"
            case _:
                yield f"{change.name}: {_value(change.old)} -> {_value(change.new)}"

    def _tell_text(self, name: str, change: Change) -> Iterator[str]:
        shown = change.new or change.old
        where = (shown.place if shown else "").rpartition(":")[0] or (shown.place if shown else "") or change.name
        if change.old is None or change.new is None:
            yield _came_or_went(change.section, change)
            return
        old, new = self.old(name, change.old.value), self.new(name, change.new.value)
        paths = _differing(old, new)
        if not paths:
            yield f"{where} changed"
        file, tree = self.user_tree(name)
        includes = change.new.why.partition(", which includes ")[2]
        for path, values in paths[:3]:
            line = _line(tree, path) if where == file and not includes else 0
            suffix = f" (it includes {includes})" if includes else ""
            yield f"{where}{f':{line}' if line else ''}: {_spell(path)} changed{values}{suffix}"
        if len(paths) > 3:  # noqa: PLR2004 - as many as are told one by one
            yield f"{where}: {len(paths) - 3} more values changed"


def _tell_source(change: Change) -> str:
    shown = change.new or change.old
    name = (shown.place if shown else "") or change.name
    if change.old is None:
        return f"{name} is new"
    if change.new is None:
        return f"{name} was removed"
    same_content = change.old.value.removesuffix(EXECUTABLE) == change.new.value.removesuffix(EXECUTABLE)
    return f"the mode of {name} changed" if same_content else f"{name} changed"


def _tell_local(change: Change) -> str:
    if change.old is None or change.new is None:
        return _came_or_went("package", change)
    name, maker = change.name.rpartition("/")[2], maker_of(change.new)
    return f"depends on {name}, which changed" if maker == maker_of(change.old) else f"the package {name} is now made by {maker}"


def maker_of(entry: Entry) -> str:
    """The node that makes a local package, of that package's entry."""
    return entry.value[entry.value.index("//") :]


def _tell_package(change: Change) -> str:
    name = change.name.rpartition("/")[2]
    if change.old is None:
        return f"the package {name} is new in its box"
    if change.new is None:
        return f"the package {name} left its box"
    if change.old.value.split()[0] == change.new.value.split()[0]:
        return f"the package {name} is now made by {change.new.value.split()[-1]}"
    return f"the content of {name} changed"


def _tell_external(change: Change) -> str:
    name = change.name.rpartition("/")[2]
    if change.old is None or change.new is None:
        return _came_or_went("external package", change)
    old, new = change.old.value.split(), change.new.value.split()
    if old[::2] == new[::2]:
        return f"the external package {name} {' '.join(new[::2])} has other content"
    return f"external package {name}: {' '.join(old[::2])} -> {' '.join(new[::2])}"


def _tell_fetched(change: Change) -> str:
    if change.old is None or change.new is None:
        return _came_or_went("source", change)
    return f"the source {change.name}: {change.old.value} -> {change.new.value}"


def _came_or_went(what: str, change: Change) -> str:
    return f"the {what} {change.name} is {'new' if change.old is None else 'gone'}"


def _value(entry: Entry | None) -> str:
    return (entry.value or "(empty)") if entry else "(none)"


_Path = tuple[str | int, ...]
_WORD = re.compile(r"[!-~]{1,60}")


def _differing(old: str | None, new: str | None) -> list[tuple[_Path, str]]:
    """The paths of the values in which two YAML texts differ, and the values where they are words."""
    if old is None or new is None:
        return []
    try:
        return list(_walk(yamltext.parse(old.encode(), ""), yamltext.parse(new.encode(), ""), ()))
    except RecipeError:
        return []


def _walk(old: YamlNode, new: YamlNode, path: _Path) -> Iterator[tuple[_Path, str]]:
    if isinstance(old, YamlMapping) and isinstance(new, YamlMapping):
        for key in dict.fromkeys([*new.items, *old.items]):
            if key in old.items and key in new.items:
                yield from _walk(old.items[key], new.items[key], (*path, key))
            else:
                yield (*path, key), ""
    elif isinstance(old, Sequence) and isinstance(new, Sequence):
        for number in range(max(len(old.items), len(new.items))):
            if number < len(old.items) and number < len(new.items):
                for place, values in _walk(old.items[number], new.items[number], (*path, number)):
                    yield place, values if len(old.items) == len(new.items) else ""  # else they have moved
            else:
                yield (*path, number), ""
    elif old != new:
        words = [node.text for node in (old, new) if isinstance(node, Scalar) and _WORD.fullmatch(node.text)]
        yield path, f" from {words[0]} to {words[1]}" if len(words) > 1 else ""


def _spell(path: _Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "its content"


def _line(tree: YamlNode, path: _Path) -> int:
    """The line in the user's file of the deepest part of a path that is there."""
    line = 0
    node: YamlNode | None = tree
    for part in path:
        if isinstance(node, YamlMapping) and isinstance(part, str) and part in node.items:
            line = node.keys[part][0] if part in node.keys else line
            node = node.items[part]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            line = node.line or line
        else:
            return line
    return node.line if isinstance(node, Scalar) and node.line else line
