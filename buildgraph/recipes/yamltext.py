"""YAML text to a tree of nodes with positions, and back to one canonical text; the only door to the yaml library.

Scalars keep the text that is written, because melange and apko type them by the field that they stand in (gopkg.in/yaml.v3,
decode.go): ``3.10`` is never 3.1 and ``00303`` never 195. Where YAML 1.1 and 1.2 or two parsers would disagree about a type,
nothing here decides.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from buildgraph.errors import Place, RecipeError
from buildgraph.structs import Alike, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
MAX_NODES = 1_000_000
# Enough for every anchor that people write by hand; 1,000 times less than yaml.v3 lets through before it calls it a bomb.
MAX_ALIASED_NODES = 100_000

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
TRUES = frozenset({"true", "True", "TRUE"})
FALSES = frozenset({"false", "False", "FALSE"})

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# What yaml.v3 could read as a number, a bool or null when unquoted (resolve.go), or wider; each also safe to write unquoted.
_TYPED = re.compile(r"(?:[-+][._]*|\.)?[0-9][0-9A-Za-z_.+-]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*")
_WORDS_WITH_A_TYPE = NULLS | TRUES | FALSES
# YAML 1.1 readers take these for bools; quoting them costs nothing and keeps the text the same for everyone.
_WORDS_TO_QUOTE = _WORDS_WITH_A_TYPE | {
    word for base in ("y", "n", "yes", "no", "on", "off") for word in (base, base.capitalize(), base.upper())
}
_UNPRINTABLE = re.compile('[\\\\"\x00-\x1f\x7f-\xa0\u00ad\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]')
# What of these JSON does not escape, or escapes otherwise.
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_as_json = json.JSONEncoder(ensure_ascii=False).encode
_SHORT = 64
_SHORT_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_STRING_TAG = "tag:yaml.org,2002:str"
_COLLECTION_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
# What a plain scalar that could be typed begins with: the words of `_WORDS_WITH_A_TYPE`, and what `_TYPED` matches.
_TYPED_START = frozenset("0123456789+-.~nNtTfF")
# A key's line and column in one number, which costs less than a pair; no line of a file has as many columns.
_SPOT = 1 << 25
# A longer key must be written with an explicit `? ` (YAML 1.2, 7.4.2: an implicit key has at most 1024 characters).
_IMPLICIT_KEY = 900


# Nodes are equal where they say the same, wherever they stand.
class Scalar(Alike):
    """A scalar as text; ``plain`` says that it is unquoted and that YAML could read it as null, a bool or a number.

    An unquoted ``foo`` and a quoted ``"foo"`` are the same string to every reader, so ``plain`` is false for both.
    """

    text: str
    plain: bool = False
    line: int = 0
    column: int = 0

    def compared(self) -> object:
        """What it says."""
        return self.text, self.plain

    @property
    def is_null(self) -> bool:
        """Whether this is YAML's null, which melange and apko read as "not given"."""
        return self.plain and self.text in NULLS


class Sequence(Alike):
    """A list of nodes in their order."""

    items: list[Node] = field(default_factory=list)
    line: int = 0
    column: int = 0

    def compared(self) -> object:
        """The items."""
        return self.items


class Mapping(Alike):
    """A mapping from key texts to nodes; ``spots`` are the places of its keys, in their order, for ``keys`` to unfold."""

    items: dict[str, Node] = field(default_factory=dict)
    line: int = 0
    column: int = 0
    spots: list[int] = field(default_factory=list)

    def compared(self) -> object:
        """The items."""
        return self.items

    def put(self, key: str, node: Node, place: tuple[int, int]) -> None:
        """Adds a key to a mapping that was not parsed; places are known for those that were put before any other."""
        if len(self.spots) == len(self.items):
            self.spots.append(place[0] * _SPOT + place[1])
        self.items[key] = node

    @property
    def keys(self) -> dict[str, tuple[int, int]]:
        """The (line, column) of each key; empty for a mapping that was not parsed."""
        return {key: divmod(spot, _SPOT) for key, spot in zip(self.items, self.spots, strict=False)}


Node: TypeAlias = "Scalar | Sequence | Mapping"


def parse(data: bytes, path: str) -> Node:
    """The tree of the one document in ``data``; ``path`` is what errors show.

    Anchors and merge keys are expanded. Raises RecipeError with a Place for everything that is not one YAML document of
    reasonable size: text that is not UTF-8 (or UTF-16 with a byte order mark, which yaml.v3 takes too), a syntax error, a key
    given twice, a second document (melange and apko would silently ignore it), an empty file.
    """
    if len(data) > MAX_BYTES:
        raise RecipeError(f"the file is larger than {MAX_BYTES >> 20} MiB", where=Place(path))
    text = decode(data, path)
    try:
        return _Composer(text, path).document()
    except yaml.YAMLError as error:
        raise _syntax_error(error, path, text) from None


def parse_mapping(data: bytes, path: str) -> Mapping:
    """As ``parse``, and RecipeError where the document is not a mapping."""
    node = parse(data, path)
    if isinstance(node, Mapping):
        return node
    raise RecipeError(f"expected a mapping, found {describe(node)}", where=place(node, path, decode(data, path)))


def decode(data: bytes, path: str) -> str:
    """The text of a file, by the byte order marks that yaml.v3 knows (readerc.go), else UTF-8; RecipeError if it is neither."""
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line = len(_LINE_BREAK.findall(before)) + 1
        raise RecipeError(f"not valid {encoding.removesuffix('-sig').upper()} text", where=Place(path, line)) from None


def place(node: Node, path: str, text: str, *, length: int = 0) -> Place:
    """The position of a node in the text that it was parsed from; ``length`` overrides how much is underlined."""
    if not length:
        length = len(node.text) if isinstance(node, Scalar) else 1
    return place_at(node.line, node.column, path, text, length=length)


def key_place(mapping: Mapping, key: str, path: str, text: str) -> Place:
    """The position of one key of a mapping."""
    line, column = mapping.keys.get(key, (mapping.line, mapping.column))
    return place_at(line, column, path, text, length=len(key))


def place_at(line: int, column: int, path: str, text: str, *, length: int = 1) -> Place:
    """A Place with its excerpt; the underline never goes beyond the end of the line."""
    lines = lines_of(text)
    excerpt = lines[line - 1] if 0 < line <= len(lines) else ""
    length = max(1, min(length, len(excerpt) - column + 1))
    return Place(path, line, column, length, excerpt)


@lru_cache(maxsize=8)
def lines_of(text: str) -> list[str]:
    """The lines of a text as YAML breaks them; of a few texts at a time they are kept, since many places lie in the same one."""
    return text.split("\n") if text.isascii() and "\r" not in text else _LINE_BREAK.split(text)


def describe(node: Node) -> str:
    """What a node is, for an error message."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.is_null:
        return "nothing"
    short = node.text if len(node.text) <= 40 and "\n" not in node.text else node.text[:30].split("\n")[0] + "..."  # noqa: PLR2004
    return f"`{short}`"


def emit(node: Node) -> str:
    """One canonical text of a tree: block style, keys sorted, no comments; the same trees always give the same text.

    Order of keys is dropped because nothing in melange or apko depends on it: every mapping is decoded into a Go struct or
    a Go map (melange pkg/config/config.go, apko pkg/build/types/types.go), and maps are used sorted (``data.items``) or by
    name. ``parse(emit(node)) == node`` up to positions.
    """
    if isinstance(node, Scalar):
        return f"--- {_scalar_text(node)}\n"
    out: list[str] = []
    _emit(node, "", out.append)
    return "".join(out)


def _emit(node: Sequence | Mapping, indent: str, write: Callable[[str], None]) -> None:
    if not node.items:
        write(f"{indent}{_empty(node)}\n")
        return
    entries: Iterable[tuple[str, Node]]
    if isinstance(node, Mapping):
        entries = [(_key_text(key, indent), node.items[key]) for key in sorted(node.items)]
    else:
        entries = [("-", item) for item in node.items]
    for lead, value in entries:
        if isinstance(value, Scalar):
            text = _scalar_text(value)
            write(f"{indent}{lead} {text}\n" if text else f"{indent}{lead}\n")
        elif not value.items:
            write(f"{indent}{lead} {_empty(value)}\n")
        else:
            write(f"{indent}{lead}\n")
            _emit(value, indent + "  ", write)


def _empty(node: Sequence | Mapping) -> str:
    return "{}" if isinstance(node, Mapping) else "[]"


def _key_text(key: str, indent: str) -> str:
    text = _text(key)
    return f"{text}:" if len(text) < _IMPLICIT_KEY else f"? {text}\n{indent}:"


def _scalar_text(node: Scalar) -> str:
    return node.text if node.plain else _text(node.text)


def _text(text: str) -> str:
    """A text, quoted where it has to be; of short ones it is kept, as recipes have the same ones again and again."""
    return _short_text(text) if len(text) < _SHORT else _any_text(text)


def _any_text(text: str) -> str:
    return text if _WORD.fullmatch(text) and text not in _WORDS_TO_QUOTE else quote(text)


_short_text = lru_cache(maxsize=1 << 14)(_any_text)


def quote(text: str) -> str:
    """A text as a YAML double-quoted scalar on one line, which is JSON's form wherever JSON's escapes are enough."""
    if _ODD.search(text) is None:
        return _as_json(text)
    return f'"{_UNPRINTABLE.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT_ESCAPES.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}")  # noqa: PLR2004


class _Composer:
    """Events of the yaml library to nodes, without recursion, so that deep nesting cannot exhaust any stack."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.anchors: dict[str, Node | None] = {}  # None while the anchored collection is open
        self.aliased = 0

    def document(self) -> Node:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self.text)
        try:
            root = self._document(loader.get_event)
        finally:
            loader.dispose()
        if root is None:
            raise RecipeError("the file is empty", where=Place(self.path))
        return root

    def _document(self, next_event: Callable[[], Any]) -> Node | None:  # noqa: C901, PLR0912, PLR0915
        # One loop and no calls but for what is rare: a repository has a million events, and calls would double their time.
        root: Node | None = None
        stack: list[Any] = []
        # Of the innermost collection that is open: its node, items and key places (None for a list), the key that waits for
        # its value, whether that is `<<`, the values of `<<`, and the anchor.
        node: Any = None
        items: Any = None
        spots: list[int] | None = None
        key: str | None = None
        merging = False
        merges: list[Node] | None = None
        anchor: str | None = None
        documents = events = 0
        while True:
            event = next_event()
            kind = type(event)
            events += 1
            if kind is ScalarEvent:
                mark = event.start_mark
                text = event.value
                untagged, quoted = event.implicit
                plain = (
                    untagged
                    and not event.style
                    and (not text or text[0] in _TYPED_START)
                    and (text in _WORDS_WITH_A_TYPE or _TYPED.fullmatch(text) is not None)
                )
                if not (untagged or quoted) and event.tag != _STRING_TAG:
                    self._fail(f"the tag `{_short_tag(event.tag)}` is not supported", event)
                if spots is not None and key is None:
                    merging = text == "<<" and untagged and not event.style
                    if event.anchor is not None:
                        self.anchors[event.anchor] = Scalar(text, plain or merging, mark.line + 1, mark.column + 1)
                    if text in items or (merging and merges is not None) or (plain and text in NULLS):
                        self._refuse_key(node, Scalar(text, plain, mark.line + 1, mark.column + 1))
                    key = text
                    if not merging:
                        spots.append((mark.line + 1) * _SPOT + mark.column + 1)
                    continue
                made: Any = Scalar(text, plain, mark.line + 1, mark.column + 1)
                if event.anchor is not None:
                    self.anchors[event.anchor] = made
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                mark = event.start_mark
                if len(stack) >= MAX_DEPTH or event.tag not in _COLLECTION_TAGS:
                    self._refuse_collection(event, len(stack))
                if spots is not None and key is None:
                    self._refuse_key(node, Mapping() if kind is MappingStartEvent else Sequence(), event)
                if kind is MappingStartEvent:
                    made = Mapping({}, mark.line + 1, mark.column + 1, [])
                else:
                    made = Sequence([], mark.line + 1, mark.column + 1)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                if merges is not None:
                    self._merge(node, merges)
                if anchor is not None:
                    self.anchors[anchor] = node
                node, items, spots, merges, anchor = stack.pop()
                key = None
                continue
            elif kind is AliasEvent:
                made = self._alias(event, len(stack))
                if spots is not None and key is None:
                    if not isinstance(made, Scalar) or made.is_null or made.text in items:
                        self._refuse_key(node, made, event)
                    key, merging = made.text, False
                    spots.append(made.line * _SPOT + made.column)
                    continue
            elif kind is StreamEndEvent:
                return root
            else:
                if kind is DocumentStartEvent:
                    documents += 1
                    self._check_start(event, documents, next_event)
                continue
            # A finished scalar or a collection that begins goes into the collection that is open.
            if events > MAX_NODES:
                raise RecipeError(f"more than {MAX_NODES:,} values", where=place(made, self.path, self.text))
            if spots is not None:
                if merging:
                    merges = [*(merges or ()), made]
                else:
                    items[key] = made
                key, merging = None, False
            elif items is not None:
                items.append(made)
            else:
                root = made
            if kind is MappingStartEvent or kind is SequenceStartEvent:
                stack.append((node, items, spots, merges, anchor))
                node, items, merges, anchor = made, made.items, None, event.anchor
                spots = made.spots if kind is MappingStartEvent else None
                if anchor is not None:
                    self.anchors[anchor] = None

    def _check_start(self, event: yaml.DocumentStartEvent, documents: int, next_event: Callable[[], Any]) -> None:
        if event.version not in {None, (1, 1)}:
            self._fail("`%YAML` must be 1.1, the only version that melange and apko read", event)
        if documents > 1:
            content = next_event()
            empty = isinstance(content, yaml.ScalarEvent) and not content.value and not content.style
            if not empty:
                self._fail("a second document starts here", event, hint="melange and apko read the first one only")

    def _refuse_collection(self, event: yaml.CollectionStartEvent, depth: int) -> None:
        if depth >= MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels", event)
        self._fail(f"the tag `{_short_tag(str(event.tag))}` is not supported", event)

    def _refuse_key(self, mapping: Mapping, node: Node, event: yaml.Event | None = None) -> NoReturn:
        where = place(node, self.path, self.text) if event is None else place_at(*_position(event), self.path, self.text)
        if not isinstance(node, Scalar) or node.is_null:
            raise RecipeError(f"a key must be a text, found {describe(node)}", where=where)
        line = mapping.keys.get(node.text, (0, 0))[0]
        raise RecipeError(f"the key `{node.text}` is given twice{f' (first on line {line})' if line else ''}", where=where)

    def _alias(self, event: yaml.AliasEvent, depth: int) -> Node:
        name = event.anchor
        if name not in self.anchors:
            self._fail(f"the anchor `&{name}` is not defined before this", event)
        node = self.anchors[name]
        if node is None:
            self._fail(f"the anchor `&{name}` contains itself", event)
        size, height = _measure(node)
        self.aliased += size
        if self.aliased > MAX_ALIASED_NODES:
            self._fail(f"anchors expand to more than {MAX_ALIASED_NODES:,} values", event)
        # An alias may bring levels that no text shows, and trees are walked by recursion later.
        if depth + height > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels", event)
        return node

    def _merge(self, target: Mapping, merges: list[Node]) -> None:
        """Keys of the merged mappings, where the mapping itself does not have them; earlier ones win (decode.go, merge)."""
        for value in merges:
            for source in value.items if isinstance(value, Sequence) else [value]:
                if not isinstance(source, Mapping):
                    what = f"`<<` takes a mapping or a list of mappings, found {describe(source)}"
                    raise RecipeError(what, where=place(source, self.path, self.text))
                for (key, item), spot in zip(source.items.items(), source.spots, strict=True):
                    if key not in target.items:
                        target.items[key] = item
                        target.spots.append(spot)

    def _fail(self, what: str, event: yaml.Event, hint: str = "") -> NoReturn:
        raise RecipeError(what, where=place_at(*_position(event), self.path, self.text), hint=hint)


def _measure(node: Node) -> tuple[int, int]:
    """How many values and levels a node stands for, its own aliases included; no more than are allowed are counted."""
    size = height = 0
    pending = [(node, 0)]
    while pending and size <= MAX_ALIASED_NODES:
        found, level = pending.pop()
        size += 1
        if not isinstance(found, Scalar):
            height = max(height, level + 1)
            children = found.items.values() if isinstance(found, Mapping) else found.items
            pending += [(child, level + 1) for child in children]
    return size, height


def _position(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _syntax_error(error: yaml.YAMLError, path: str, text: str) -> RecipeError:
    """The yaml library's error in the words and with the place of ours."""
    if isinstance(error, yaml.reader.ReaderError):
        # The position counts the bytes of the text as UTF-8.
        before = lines_of(text.encode()[: error.position].decode(errors="replace"))
        what = f"not valid YAML: {error.reason} (U+{error.character:04X})"
        return RecipeError(what, where=place_at(len(before), len(before[-1]) + 1, path, text))
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return RecipeError(f"not valid YAML: {error}", where=Place(path))
    where = place_at(mark.line + 1, mark.column + 1, path, text)
    problem = getattr(error, "problem", None) or "syntax error"
    context = getattr(error, "context", None)
    hint = ""
    if "\t" in where.excerpt[: len(where.excerpt) - len(where.excerpt.lstrip())] or "'\\t'" in problem:
        hint = "YAML does not allow tabs as indentation: use spaces"
    return RecipeError(f"not valid YAML: {problem}{f' ({context})' if context else ''}", where=where, hint=hint)
