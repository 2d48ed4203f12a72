"""Sizes and ages as people write them: ``10G``, ``30d``."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str) -> int | None:
    """The bytes that a text such as ``512M`` or ``4Gi`` means (K is 1024), None where it means none."""
    match = re.fullmatch(r"([0-9]{1,18})(?:([KMGT])i?)?", text)
    return int(match[1]) * _UNITS[match[2] or ""] if match else None


def parse_age(text: str) -> float | None:
    """The seconds that a text such as ``30d`` or ``12h`` means, None where it means none."""
    match = re.fullmatch(r"([0-9]{1,9})([mhdw])", text)
    return float(int(match[1]) * _SPANS[match[2]]) if match else None
