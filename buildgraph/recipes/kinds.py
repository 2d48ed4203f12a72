"""Which tool a YAML file is for, told by its content and never by its name.

Other formats use the same words: conda's recipes and serverless.yml have a ``package:``, a book a table of ``contents:``. They
are told apart by what stands beside these words.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from buildgraph.recipes.schema import CONTENTS, IMAGE, RECIPE
from buildgraph.recipes.yamltext import Mapping, Node

Kind: TypeAlias = Literal["melange", "apko"]

# A top-level key can only stand at the start of a line (also quoted, after `{`, a byte order mark or `--- `).
_LIKELY = re.compile(
    rb"""^(?:\xef\xbb\xbf)?(?:---[ \t]+|[ \t]*[{,?][ \t]*|[ \t]+)?["']?(?:package|contents|include)["']?[ \t]*:""",
    re.MULTILINE,
)
_TOP_LEVEL_KEY = re.compile(r"""^(?:---[ \t]+)?["']?([A-Za-z][\w-]*)["']?[ \t]*:""", re.MULTILINE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Keys of a melange recipe beside `package`, and those of them that no other format with a `package` has.
_BESIDE_PACKAGE = frozenset({"pipeline", "environment", "subpackages", "update", "test", "vars", "data"})
_MELANGE_ONLY = frozenset({"pipeline", "environment", "subpackages", "var-transforms"})
_RECIPE_KEYS = RECIPE.fields.keys()
_IMAGE_KEYS = IMAGE.fields.keys()
_CONTENTS_KEYS = CONTENTS.fields.keys()


def may_be_recipe(data: bytes) -> bool:
    """Whether it is worth parsing these bytes: false only for files that are certainly no recipe."""
    return data[:2] in _UTF16 or _LIKELY.search(data) is not None


def is_meant_as_recipe(data: bytes) -> bool:
    """Whether bytes that are no YAML, or not one document of it, are a recipe with a mistake rather than another format.

    Templates, CI configuration with tags of its own and manifests of several documents are nobody's mistake.
    """
    keys = set(_TOP_LEVEL_KEY.findall(data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig", "replace")))
    if "package" in keys:
        return keys <= _RECIPE_KEYS or not keys.isdisjoint(_MELANGE_ONLY)
    return not keys.isdisjoint({"contents", "include"}) and keys <= _IMAGE_KEYS


def recipe_kind(tree: Node) -> Kind | None:
    """The tool that a tree is for, or None where it is no recipe.

    melange: a ``package`` mapping with something that only melange has in it or beside it, or with a ``name``, a ``version`` or
    another of melange's keys where nothing is foreign to melange. apko: ``contents`` with something that apko knows in it or
    beside it, or ``include`` in a file that has the shape of an image, and no ``package``.
    """
    if not isinstance(tree, Mapping):
        return None
    keys = tree.items.keys()
    package, contents = tree.items.get("package"), tree.items.get("contents")
    if isinstance(package, Mapping):
        certain = "epoch" in package.items or not keys.isdisjoint(_MELANGE_ONLY)
        possible = not package.items.keys().isdisjoint({"name", "version"}) or not keys.isdisjoint(_BESIDE_PACKAGE)
        return "melange" if certain or (possible and keys <= _RECIPE_KEYS) else None
    if package is not None:
        return None
    if isinstance(contents, Mapping):
        known = not contents.items or not contents.items.keys().isdisjoint(_CONTENTS_KEYS)
        return "apko" if known or (len(keys) > 1 and keys <= _IMAGE_KEYS) else None
    return "apko" if "include" in keys and keys <= _IMAGE_KEYS else None
