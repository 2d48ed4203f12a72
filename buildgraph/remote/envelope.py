"""Signed bytes, as DSSE has them (https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable

from buildgraph.keys import ed25519
from buildgraph.structs import Struct, from_json

PAYLOAD_TYPE = "application/vnd.buildgraph.result+json"
MAX_SIGNATURES = 16


class Signature(Struct, frozen=True):
    """A signature, and what its maker calls the key: a hint, which is not signed."""

    key: str
    value: bytes


class Envelope(Struct, frozen=True):
    """A payload with its signatures, none of which was looked at yet."""

    payload: bytes
    signatures: tuple[Signature, ...]

    def is_signed_by(self, public: str) -> bool:
        """Whether the signature under a public key's name is that of its owner.

        Others are not tried: sixteen of a large payload take a second, and anybody can write such an envelope.
        """
        named = {signature.key: signature.value for signature in self.signatures}
        return public in named and ed25519.verifies(public, named[public], _encoding(self.payload))


def seal(payload: bytes, private_keys: Iterable[str]) -> bytes:
    """The envelope of a payload, signed with each of these keys."""
    signed = _encoding(payload)
    signatures = [
        {"keyid": ed25519.public(private), "sig": base64.b64encode(ed25519.sign(private, signed)).decode()}
        for private in private_keys
    ]
    content = {"payloadType": PAYLOAD_TYPE, "payload": base64.b64encode(payload).decode(), "signatures": signatures}
    return json.dumps(content, separators=(",", ":")).encode()


def unseal(data: bytes) -> Envelope:
    """The envelope that some bytes are. Raises ValueError."""
    try:
        content = from_json(data)
        if content["payloadType"] != PAYLOAD_TYPE or len(content["signatures"]) > MAX_SIGNATURES:
            raise ValueError(PAYLOAD_TYPE)
        signatures = tuple(Signature(str(one.get("keyid", "")), _decoded(one["sig"])) for one in content["signatures"])
        return Envelope(_decoded(content["payload"]), signatures)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        message = "no envelope"
        raise ValueError(message) from error


def _decoded(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)


def _encoding(payload: bytes) -> bytes:
    """What is signed: the payload and its type, each behind its length (DSSE's PAE)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
