"""How a scalar becomes a number, a bool or a duration: gopkg.in/yaml.v3 (resolve.go, decode.go) and Go's strconv and time.

A text field takes any scalar as it is written; the functions here are for the others. Quoting matters: yaml.v3 makes no number
of a quoted text, but takes quoted words of YAML 1.1 (``"yes"``) for bools.
"""

from __future__ import annotations

import math
import re

from buildgraph.recipes.yamltext import FALSES, TRUES, Node, Scalar

MAX_INT = 2**63 - 1
MAX_UINT = 2**64 - 1
MAX_UINT32 = 2**32 - 1

_YES = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
_NO = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF"})
_WHOLE = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_BASES = (16, 2, 8, 10)
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DURATION = re.compile(r"([-+]?)((?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|0)")
_DURATION_PART = re.compile(r"([0-9.]+)([a-zµμ]+)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def whole_number(node: Scalar) -> int | None:
    """The number that an integer field gets, None where the text is none: ``010`` is 8, ``08`` and ``8.9`` are 8."""
    if not node.plain:
        return None
    digits = node.text.replace("_", "")
    match = _WHOLE.fullmatch(digits)
    if match is not None:
        sign, *groups = match.groups()
        value = next(int(group, base) for group, base in zip(groups, _BASES, strict=True) if group is not None)
        return -value if sign == "-" else value
    if _FRACTION.fullmatch(digits):
        fraction = float(digits)
        return int(fraction) if math.isfinite(fraction) else None
    return None


def is_int(node: Scalar) -> bool:
    """Whether a field of Go's type ``int`` takes it."""
    value = whole_number(node)
    return value is not None and -MAX_INT - 1 <= value <= MAX_INT


def is_uint(node: Scalar, maximum: int = MAX_UINT) -> bool:
    """Whether a field of Go's type ``uint64`` (or a smaller one) takes it."""
    value = whole_number(node)
    return value is not None and 0 <= value <= maximum


def is_uint32(node: Scalar) -> bool:
    """Whether a field of Go's type ``uint32`` takes it."""
    return is_uint(node, MAX_UINT32)


def is_bool(node: Scalar) -> bool:
    """Whether a field of Go's type ``bool`` takes it."""
    return node.text in (TRUES | FALSES if node.plain else _YES | _NO)


def is_duration(node: Scalar) -> bool:
    """Whether a field of Go's type ``time.Duration`` takes it; an unquoted ``0`` is a number, which it does not take."""
    match = _DURATION.fullmatch(node.text)
    if match is None or (node.plain and whole_number(node) is not None):
        return False
    return sum(float(amount) * _NANOSECONDS[unit] for amount, unit in _DURATION_PART.findall(match[2])) <= MAX_INT


def number(node: Node | None) -> int:
    """The value of a checked integer field; 0 where it is not given."""
    return (whole_number(node) or 0) if isinstance(node, Scalar) else 0


def truth(node: Node | None) -> bool:
    """The value of a checked bool field; false where it is not given."""
    return isinstance(node, Scalar) and node.text in (TRUES if node.plain else _YES)
