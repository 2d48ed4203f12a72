"""Which tool a YAML file is for, told by its content and never by its name."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from buildgraph.recipes.schema import IMAGE
from buildgraph.recipes.yamltext import Mapping, Node

Kind: TypeAlias = Literal["melange", "apko"]

# A top-level key can only stand at the start of a line (also quoted, after `{`, a byte order mark or `--- `).
_LIKELY = re.compile(
    rb"""^(?:\xef\xbb\xbf)?(?:---[ \t]+|[ \t]*[{,?][ \t]*|[ \t]+)?["']?(?:package|contents|include)["']?[ \t]*:""",
    re.MULTILINE,
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Keys of a melange recipe beside `package`; other formats (a Helm chart, a Flutter project) use the word `package` too.
_BESIDE_PACKAGE = ("pipeline", "environment", "subpackages", "update", "test", "vars", "data")


_IMAGE_KEYS = IMAGE.fields.keys()


def may_be_recipe(data: bytes) -> bool:
    """Whether it is worth parsing these bytes: false only for files that are certainly no recipe."""
    return data[:2] in _UTF16 or _LIKELY.search(data) is not None


def recipe_kind(tree: Node) -> Kind | None:
    """The tool that a tree is for, or None where it is no recipe.

    melange: a ``package`` mapping that has a ``name`` or a ``version``, or that stands beside a key that only melange has.
    apko: ``contents``, or ``include`` in a file that has the shape of an image, and no ``package``.
    """
    if not isinstance(tree, Mapping):
        return None
    package = tree.items.get("package")
    if isinstance(package, Mapping):
        named = "name" in package.items or "version" in package.items
        return "melange" if named or any(key in tree.items for key in _BESIDE_PACKAGE) else None
    if package is None and isinstance(tree.items.get("contents"), Mapping):
        return "apko"
    if package is None and "include" in tree.items and tree.items.keys() <= _IMAGE_KEYS:
        return "apko"
    return None
