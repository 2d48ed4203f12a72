"""What the manifest says of caches on other machines: where they are, what they are for, and whose results are believed."""

from __future__ import annotations

import re
from typing import Literal

from buildgraph.structs import Struct

Mode = Literal["read", "write", "read-write"]
MODES: tuple[Mode, ...] = ("read", "write", "read-write")
REMOTE_KEYS = ("url", "mode", "name", "unsigned")
TRUST_KEYS = ("key", "tiers")
PUBLIC_KEY = re.compile(r"ed25519:[A-Za-z0-9+/]{43}=")  # 32 bytes in base64
TIER_PATTERN = re.compile(r"trusted|local|pr/.+|.*\*.*")


class Remote(Struct, frozen=True):
    """A cache elsewhere: an address, or a folder. ``unsigned``: whatever it has is believed; ``line``: the manifest's."""

    url: str
    mode: Mode = "read"
    name: str = ""
    unsigned: bool = False
    line: int = 0

    @property
    def reads(self) -> bool:
        """Whether results are taken from it."""
        return self.mode != "write"

    @property
    def writes(self) -> bool:
        """Whether results are given to it."""
        return self.mode != "read"


class TrustedKey(Struct, frozen=True):
    """A public key, and patterns of the tiers that its owner may write."""

    key: str
    tiers: tuple[str, ...]
