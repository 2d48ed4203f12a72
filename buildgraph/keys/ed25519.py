"""Signatures of results with ed25519 (RFC 8032), and their keys as text: ``ed25519:`` and 32 bytes in Base64.

The one door to PyNaCl: libsodium checks a signature in half the time that OpenSSL takes, and a look-up is little else.
"""

from __future__ import annotations

import base64
import binascii

PREFIX = "ed25519:"
_BYTES = 32
_SIGNATURE = 64


def generate() -> str:
    """A new private key as text: its seed."""
    import secrets

    return _to_text(secrets.token_bytes(_BYTES))


def public(private: str) -> str:
    """The public key of a private one, as text. Raises ValueError for what is no key."""
    from nacl.bindings import crypto_sign_seed_keypair

    key, _ = crypto_sign_seed_keypair(_from_text(private))
    return _to_text(key)


def sign(private: str, data: bytes) -> bytes:
    """The signature of some bytes, always the same. Raises ValueError for what is no key."""
    from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

    _, key = crypto_sign_seed_keypair(_from_text(private))
    return crypto_sign(data, key)[:_SIGNATURE]


def verifies(key: str, signature: bytes, data: bytes) -> bool:
    """Whether the owner of a public key signed these bytes. Raises ValueError for what is no key."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError

    public = _from_text(key)
    try:
        return len(signature) == _SIGNATURE and crypto_sign_open(signature + data, public) == data
    except CryptoError:
        return False


def is_key(text: str) -> bool:
    """Whether a text has the form of a key."""
    try:
        _from_text(text)
    except ValueError:
        return False
    return True


def _to_text(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def _from_text(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if not text.strip().startswith(PREFIX) or len(key) != _BYTES:
        message = f"a key is `{PREFIX}` and {_BYTES} bytes in Base64"
        raise ValueError(message)
    return key
