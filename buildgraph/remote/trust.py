"""Who is believed: writers have tiers, keys say who may write which, and everything else is a miss with a reason.

Tiers are ``trusted`` (what protected branches build), ``pr/ID`` (what one pull request builds) and ``local`` (what people build).
A reader takes results of its own tier and of ``trusted``. Nothing ever moves from one tier to another: a tier is part of the key
and of what is signed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from enum import Enum

from buildgraph.keys.digest import Digest
from buildgraph.remote import result as results
from buildgraph.remote.envelope import unseal
from buildgraph.remote.result import Kind, Result
from buildgraph.structs import Struct, field

TRUSTED, LOCAL = "trusted", "local"
_TIER = re.compile(r"trusted|local|pr/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Refusal(Enum):
    """Why a result is not believed."""

    UNSIGNED = "not signed"
    STRANGER = "not signed by a key that `trust:` names"
    FOREIGN = "signed by a key that may not write this tier"
    MALFORMED = "damaged, or kept under the key of another"


class Writer(Struct, frozen=True):
    """A key of the manifest: its public half, and patterns of the tiers that its owner may write."""

    key: str
    tiers: tuple[str, ...]

    def may_write(self, tier: str) -> bool:
        """Whether a tier is among them."""
        return any(fnmatch.fnmatchcase(tier, pattern) for pattern in self.tiers)


class Trust(Struct, frozen=True):
    """What a reader believes. ``tier`` is its own."""

    tier: str = LOCAL
    writers: Mapping[str, Writer] = field(default_factory=dict)

    def tiers(self) -> tuple[str, ...]:
        """The tiers that are read, in this order."""
        return tuple(dict.fromkeys((TRUSTED, self.tier)))

    def judge(self, data: bytes, kind: Kind, key: Digest, tier: str, *, unsigned: bool) -> Result | Refusal:
        """The result in an envelope if it is believed, else why it is not; ``unsigned`` lifts the need of a signature."""
        try:
            envelope = unseal(data)
        except ValueError:
            return Refusal.MALFORMED
        if not unsigned:
            if not envelope.signatures:
                return Refusal.UNSIGNED
            signers = [writer for writer in self.writers.values() if envelope.is_signed_by(writer.key)]
            if not signers:
                return Refusal.STRANGER
            if not any(writer.may_write(tier) for writer in signers):
                return Refusal.FOREIGN
        # Only what is signed is read.
        return results.from_bytes(envelope.payload, kind, key, tier) or Refusal.MALFORMED


def is_tier(text: str) -> bool:
    """Whether a text names a tier."""
    return _TIER.fullmatch(text) is not None
