"""What melange's scan would say of a package's files: ``so:``, ``cmd:`` and ``pc:`` provides, ``so:`` depends.

(melange: pkg/sca/sca.go.) melange itself does not serve: its library folders know no ``usr/lib/<triplet>``.
"""

from __future__ import annotations

import io
import posixpath
import re

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from buildgraph.structs import Struct
from tools.seed.layout import Tree

_LIBRARY = re.compile(r"usr/lib/(?:[a-z0-9_]+-linux-gnu\w*/)?[^/]+\.so(?:\.[^/]*)?")
_COMMAND = re.compile(r"usr/bin/[^/]+")
_PKG_CONFIG = re.compile(r"usr/(?:lib(?:/[a-z0-9_]+-linux-gnu\w*)?|share)/pkgconfig/[^/]+\.pc")


class Links(Struct, frozen=True):
    """A program's or library's dynamic section: its own name, the libraries that it asks for, its loader."""

    soname: str = ""
    needed: tuple[str, ...] = ()
    interpreter: str = ""


def links(data: bytes) -> Links:
    """What an ELF file says of itself; nothing if it is none, or is damaged."""
    soname, interpreter, needed = "", "", []
    try:
        for segment in ELFFile(io.BytesIO(data)).iter_segments():
            if isinstance(segment, InterpSegment):
                interpreter = segment.get_interp_name()
            elif isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():  # the library sets an attribute named after the tag
                    if tag.entry.d_tag == "DT_SONAME":
                        soname = vars(tag)["soname"]
                    elif tag.entry.d_tag == "DT_NEEDED":
                        needed.append(vars(tag)["needed"])
    except ELFError:
        return Links()
    return Links(soname, tuple(needed), interpreter)


def library_version(soname: str) -> str:
    """The version in a ``so:`` provide: what follows ``.so.``, or 0, as melange has it."""
    found = re.search(r"\.so\.([0-9.]+)$", soname)
    return found[1] if found else "0"


def scan(tree: Tree, version: str) -> tuple[set[str], set[str]]:
    """(provides, depends) of a package's files. A library that the package has itself, anywhere, is no dependency."""
    provides: set[str] = set()
    needed: set[str] = set()
    own: set[str] = set()
    for path, entry in tree.items():
        if entry.kind == "dir":
            continue
        if _COMMAND.fullmatch(path) and (entry.kind == "symlink" or entry.mode & 0o111):
            provides.add(f"cmd:{posixpath.basename(path)}={version}")
        if _PKG_CONFIG.fullmatch(path):
            provides.add(f"pc:{posixpath.basename(path)[:-3]}={version}")
        own.add(posixpath.basename(path))
        if entry.kind == "file" and entry.data[:4] == b"\x7fELF":
            found = links(entry.data)
            needed.update(found.needed)
            if found.interpreter:
                needed.add(posixpath.basename(found.interpreter))
            if found.soname:
                own.add(found.soname)
                if _LIBRARY.fullmatch(path):
                    provides.add(f"so:{found.soname}={library_version(found.soname)}")
    return provides, {f"so:{name}" for name in needed - own}
