"""How two builds of one thing differ: down to the member of a package or a layer, and there the first differing place.

Told is what is at the root of a difference, not what follows from it: where a file in a layer differs, the layer's digest in
the manifest does too, and so does the manifest's in the index.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from buildgraph.apk.archive import CHUNK, malformed
from buildgraph.apk.package import read_package
from buildgraph.apk.pkginfo import PKGINFO_NAME
from buildgraph.errors import RepositoryError
from buildgraph.execute.collect import LAYOUT
from buildgraph.outputs import suspects
from buildgraph.outputs.containers import MOST_NESTED, Member, nested_members, tar_members
from buildgraph.outputs.suspects import Clues
from buildgraph.structs import Struct

MOST = 50  # differences of one output that are looked for
_DEEPEST = 4  # formats within formats
_MOST_SHOWN = 160  # characters of a line
_HEX = 16  # bytes shown of a binary file
_AROUND = 64  # bytes looked at around a differing one
_NOTE = b"GNU\0"  # before a build id, which is a hash of the rest of the file (elf.h: ELF_NOTE_GNU)
_LONGEST_NOTE = 32
_STRING = re.compile(rb"[\x20-\x7e]{4,}")  # what strings(1) takes for a text
_FIRST_STRINGS = 20
_FOLLOWS = ("datahash = ", "size = ")  # in a .PKGINFO: from the data

Blob = Callable[[str], Path]


class Difference(Struct, frozen=True):
    """One difference: ``where``, from the output inwards, what differs there (``at`` a line or an offset), and both values."""

    where: tuple[str, ...]
    what: str
    before: str = ""
    again: str = ""
    at: str = ""
    suspects: tuple[str, ...] = ()


def compare(before: Mapping[str, Path], again: Mapping[str, Path], clues: Clues) -> list[Difference]:
    """How the outputs of two builds differ, as paths to files: at most ``MOST`` differences, none where all are equal."""
    found: list[Difference] = []
    images = all(f"{LAYOUT}/index.json" in outputs for outputs in (before, again))
    for difference in _Comparison(clues).outputs(before, again, image=images):
        found.append(difference)
        if len(found) == MOST:
            break
    return found


class _Comparison:
    def __init__(self, clues: Clues) -> None:
        self.clues = clues

    def outputs(self, before: Mapping[str, Path], again: Mapping[str, Path], *, image: bool) -> Iterator[Difference]:
        if image:
            told = False
            try:
                with malformed(before[f"{LAYOUT}/index.json"], "the image"):
                    for difference in self.image(before, again):
                        told = True
                        yield difference
            except RepositoryError as error:
                yield Difference((LAYOUT,), "cannot be read", error.what)
            if told:  # SBOMs and what else names digests follow
                return
        yield from _only(sorted(before), sorted(again), ())
        for path in sorted(before.keys() & again.keys()):
            if _same(before[path], again[path]):
                continue
            compared = self.package if path.endswith(".apk") else self.file
            yield from self.told((path,), compared, before[path], again[path])

    def told(
        self,
        where: tuple[str, ...],
        compared: Callable[[tuple[str, ...], Path, Path], Iterator[Difference]],
        before: Path,
        again: Path,
    ) -> Iterator[Difference]:
        """The differences of two files that are not the same: at least one, also where one of them cannot be read."""
        told = False
        try:
            with malformed(before, where[-1]):
                for difference in compared(where, before, again):
                    told = True
                    yield difference
        except RepositoryError as error:
            yield Difference(where, "cannot be read", error.what)
            return
        if not told:
            yield from self.file((*where, "as compressed"), before, again)

    def package(self, where: tuple[str, ...], before: Path, again: Path) -> Iterator[Difference]:
        """The control segments, then the data segments, of which the former's hash follows."""
        infos = read_package(before), read_package(again)
        bounds = [(info.segments.control, info.segments.data, info.segments.end) for info in infos]
        for name, first in (("control", 0), ("data", 1)):
            parts = [_Slice(path, bound[first], bound[first + 1]) for path, bound in zip((before, again), bounds, strict=True)]
            with parts[0] as one, parts[1] as other, tar_members(one) as old, tar_members(other) as new:
                yield from self.members((*where, name), old, new)

    def layer(self, where: tuple[str, ...], before: Path, again: Path) -> Iterator[Difference]:
        with before.open("rb") as one, again.open("rb") as other, tar_members(one) as old, tar_members(other) as new:
            yield from self.members(where, old, new)

    def file(self, where: tuple[str, ...], before: Path, again: Path) -> Iterator[Difference]:
        with before.open("rb") as one, again.open("rb") as other:
            yield from self.content(where, one, other)

    def image(self, before: Mapping[str, Path], again: Mapping[str, Path]) -> Iterator[Difference]:
        """The images of an index, platform by platform: configuration, then layer by layer."""
        layouts = _Layout(before), _Layout(again)
        images = [layout.images() for layout in layouts]
        yield from _only(sorted(images[0]), sorted(images[1]), ())
        for platform in sorted(images[0].keys() & images[1].keys()):
            one, other = images[0][platform], images[1][platform]
            if one == other:
                continue
            configs = [layout.blob(manifest["config"]["digest"]) for layout, manifest in zip(layouts, (one, other), strict=True)]
            # What follows from the layers is told by them.
            plain = [{key: value for key, value in config.items() if key not in {"rootfs", "history"}} for config in configs]
            yield from self.json((platform, "config"), *plain)
            plain = [
                {key: value for key, value in manifest.items() if key not in {"config", "layers"}} for manifest in (one, other)
            ]
            yield from self.json((platform, "manifest"), *plain)
            digests = [[layer["digest"] for layer in manifest["layers"]] for manifest in (one, other)]
            if len(digests[0]) != len(digests[1]):
                yield Difference((platform,), "number of layers", str(len(digests[0])), str(len(digests[1])))
            for number, (old, new) in enumerate(zip(*digests, strict=False), 1):
                if old != new:
                    where = (platform, f"layer {number}")
                    yield from self.told(where, self.layer, layouts[0].path(old), layouts[1].path(new))

    def json(self, where: tuple[str, ...], before: Any, again: Any) -> Iterator[Difference]:
        """The values that differ, by their path."""
        if isinstance(before, dict) and isinstance(again, dict):
            for key in sorted(before.keys() | again.keys()):
                yield from self.json((*where, key), before.get(key), again.get(key))
        elif isinstance(before, list) and isinstance(again, list) and len(before) == len(again):
            for number, (one, other) in enumerate(zip(before, again, strict=True), 1):
                yield from self.json((*where, str(number)), one, other)
        elif before != again:
            one, other = _text(before), _text(again)
            yield Difference(where, "value", _short(one), _short(other), suspects=suspects.of_texts(one, other, self.clues))

    def members(
        self, where: tuple[str, ...], before: Sequence[Member], again: Sequence[Member], depth: int = 0
    ) -> Iterator[Difference]:
        """What members differ, in what their archive says of them, then in content; last their order."""
        old, new = ({member.name: member for member in part} for part in (before, again))
        yield from _only(list(old), list(new), where)
        yield from self.facts(where, old, new)
        for name in (name for name in old if name in new):
            inside = (*where, name)
            with old[name].open() as stream, new[name].open() as another:
                if name == PKGINFO_NAME and where[-1] == "control":
                    yield from self.pkginfo(inside, stream, another)
                else:
                    yield from self.content(inside, stream, another, depth)
        orders = [[name for name in part if name in old and name in new] for part in (old, new)]
        if orders[0] != orders[1]:
            place = next(number for number, names in enumerate(zip(*orders, strict=True)) if names[0] != names[1])
            names = orders[0][place], orders[1][place]
            yield Difference(where, "order", *names, at=f"member {place + 1}", suspects=(suspects.DIRECTORY_ORDER,))

    def facts(self, where: tuple[str, ...], before: Mapping[str, Member], again: Mapping[str, Member]) -> Iterator[Difference]:
        """What else than their content differs of members; what differs of many is told of the first of them."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for name in (name for name in before if name in again):
            one, other = before[name].facts, again[name].facts
            for fact in sorted(one.keys() | other.keys()):
                if one.get(fact, "") != other.get(fact, ""):
                    found.setdefault(fact, []).append((name, one.get(fact, ""), other.get(fact, "")))
        for fact, ((name, value, another), *more) in found.items():
            what = f"{fact}, as of {len(more)} more" if more else fact
            guess = (suspects.TIME,) if fact == "time" else suspects.of_texts(value, another, self.clues)
            yield Difference((*where, name), what, value, another, suspects=guess)

    def pkginfo(self, where: tuple[str, ...], before: BinaryIO, again: BinaryIO) -> Iterator[Difference]:
        """The lines that do not follow from the data segment."""
        parts = [stream.read().decode("utf-8", "replace").splitlines() for stream in (before, again)]
        one, other = ([line for line in lines if not line.startswith(_FOLLOWS)] for lines in parts)
        yield from self.lines(where, one, other)

    def content(self, where: tuple[str, ...], before: BinaryIO, again: BinaryIO, depth: int = 0) -> Iterator[Difference]:
        """The members that differ of a format that has members; else the first differing place."""
        offset = _first_difference(before, again)
        if offset is None:
            return
        one, other = _whole(before), _whole(again)
        if one is not None and other is not None:
            nested = [nested_members(data) for data in (one, other)] if depth < _DEEPEST else [None]
            if all(members is not None for members in nested):
                told = False
                for difference in self.members(where, nested[0] or [], nested[1] or [], depth + 1):
                    told = True
                    yield difference
                if told:
                    return
            if _is_text(one) and _is_text(other):
                parts = [data.decode("utf-8", "replace").splitlines() for data in (one, other)]
                told_lines = list(self.lines(where, *parts))
                if told_lines:
                    yield from told_lines
                    return
            text = self.strings(where, one, other)
            if text is not None:
                yield text
                return
            offset = _beyond_build_id(one, other, offset)
        yield self.binary(where, before, again, offset)

    def lines(self, where: tuple[str, ...], before: Sequence[str], again: Sequence[str]) -> Iterator[Difference]:
        """The first differing line, and whether it is all a matter of order."""
        if before == again:
            return
        number = next((number for number, pair in enumerate(zip(before, again, strict=False)) if pair[0] != pair[1]), None)
        if number is None:
            number = min(len(before), len(again))
        one, other = (lines[number] if number < len(lines) else "" for lines in (before, again))
        guess = suspects.of_texts(one, other, self.clues)
        if sorted(before) == sorted(again):
            guess = (suspects.of_order(before),)
        yield Difference(where, "content", *_around(one, other), at=f"line {number + 1}", suspects=guess)

    def strings(self, where: tuple[str, ...], before: bytes, again: bytes) -> Difference | None:
        """A text that differs within binary files, as `strings` would show it: of the first few one with a suspect, or the first.

        A text of another length moves all that follows and changes offsets in headers: the first differing byte says little.
        """
        pairs = zip(_STRING.finditer(before), _STRING.finditer(again), strict=False)
        differing = (pair for pair in pairs if pair[0][0] != pair[1][0])
        found = None
        for old, new in itertools.islice(differing, _FIRST_STRINGS):
            one, other = old[0].decode("ascii"), new[0].decode("ascii")
            guess = suspects.of_texts(one, other, self.clues)
            if guess or found is None:
                found = Difference(where, "content", *_around(one, other), f"offset {old.start():#x}", guess)
            if guess:
                break
        return found

    def binary(self, where: tuple[str, ...], before: BinaryIO, again: BinaryIO, offset: int) -> Difference:
        """The bytes from the first differing one on, and a guess from the text or the number that they are part of."""
        middle = min(offset, _AROUND)
        one, other = (_part(stream, offset - middle, 2 * _AROUND) for stream in (before, again))
        close = slice(max(0, middle - 3), middle + 4)  # a number of four bytes that the place lies in
        guess = suspects.of_bytes(one[close], other[close], self.clues)
        guess = guess or suspects.of_texts(_printable(one, middle), _printable(other, middle), self.clues)
        shown = slice(middle, middle + _HEX)
        return Difference(where, "content", _hex(one[shown]), _hex(other[shown]), f"offset {offset:#x}", guess)


class _Layout:
    """An OCI image layout among the outputs of a build."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    def read(self, path: str) -> Any:
        return json.loads(self.files[path].read_bytes())

    def path(self, digest: str) -> Path:
        return self.files[f"{LAYOUT}/blobs/{digest.replace(':', '/')}"]

    def blob(self, digest: str) -> Any:
        return json.loads(self.path(digest).read_bytes())

    def images(self) -> dict[str, Any]:
        """The manifests by platform, as ``amd64`` or ``arm/v7``."""
        found = {}
        pending = [(entry, "image") for entry in self.read(f"{LAYOUT}/index.json")["manifests"]]
        while pending:
            entry, fallback = pending.pop()
            platform = entry.get("platform", {})
            name = "/".join(filter(None, (platform.get("architecture", ""), platform.get("variant", "")))) or fallback
            content = self.blob(entry["digest"])
            if "manifests" in content:
                pending += [(inner, f"image {number}") for number, inner in enumerate(content["manifests"], 1)]
            else:
                found[name] = content
        return found


class _Slice:
    """A part of a file as a file of its own, within a block."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self.path, self.start, self.end = path, start, end

    def __enter__(self) -> BinaryIO:
        self.file = self.path.open("rb")
        self.position = self.start
        return self  # type: ignore[return-value] # as far as reading goes

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int = -1) -> bytes:
        left = self.end - self.position
        self.file.seek(self.position)
        data = self.file.read(left if size < 0 else min(size, left))
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: self.start, 1: self.position, 2: self.end}[whence]
        self.position = base + offset
        return self.position - self.start


def _only(before: Sequence[str], again: Sequence[str], where: tuple[str, ...]) -> Iterator[Difference]:
    yield from (Difference((*where, name), "only in the first build") for name in before if name not in again)
    yield from (Difference((*where, name), "only in the second build") for name in again if name not in before)


def _same(before: Path, again: Path) -> bool:
    with before.open("rb") as one, again.open("rb") as other:
        return _first_difference(one, other) is None


def _first_difference(before: BinaryIO, again: BinaryIO) -> int | None:
    offset = 0
    while True:
        one, other = before.read(CHUNK), again.read(CHUNK)
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            return offset + next((place for place, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))
        if not one:
            return None
        offset += len(one)


def _whole(stream: BinaryIO) -> bytes | None:
    """All of a stream, None where that is more than should be held in memory."""
    stream.seek(0)
    data = stream.read(MOST_NESTED + 1)
    return data if len(data) <= MOST_NESTED else None


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _beyond_build_id(before: bytes, again: bytes, offset: int) -> int:
    """The first differing byte after a build id, if it is one that differs first: it follows from the others."""
    note = before.rfind(_NOTE, max(0, offset - _LONGEST_NOTE), offset)
    if note < 0 or not before.startswith(b"\x7fELF"):
        return offset
    after = offset + _LONGEST_NOTE
    pairs = enumerate(zip(before[after:], again[after:], strict=False), after)
    return next((place for place, pair in pairs if pair[0] != pair[1]), offset)


def _printable(data: bytes, middle: int) -> str:
    """The text around a place in a binary file."""
    start = end = middle
    while start and 32 <= data[start - 1] < 127:  # noqa: PLR2004 - ASCII
        start -= 1
    while end < len(data) and 32 <= data[end] < 127:  # noqa: PLR2004 - ASCII
        end += 1
    return data[start:end].decode("ascii")


def _part(stream: BinaryIO, start: int, size: int) -> bytes:
    stream.seek(start)
    return stream.read(size)


def _hex(data: bytes) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)  # noqa: PLR2004 - ASCII
    return f"{data.hex(' ')}  {text}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _around(before: str, again: str) -> tuple[str, str]:
    """Two lines, or of long ones the part where they begin to differ."""
    same = next((place for place, pair in enumerate(zip(before, again, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - _MOST_SHOWN // 2)
    first = "..." if start else ""
    return f"{first}{_short(before[start:])}", f"{first}{_short(again[start:])}"
