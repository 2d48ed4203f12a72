"""Keys and signatures of packages and indexes; the only door to `cryptography`.

A signature is a gzip'd tar segment before what it signs, with one file `.SIGN.RSA256.<key>.rsa.pub`: RSA PKCS#1 v1.5 over
the SHA-256 of an index's raw bytes, or of a package's raw control segment (melange v0.59.1, pkg/sign). Nothing random goes
into it, so signing twice gives the same bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from buildgraph.apk.archive import copy, plain_file, replacing, store
from buildgraph.errors import RepositoryError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_KEY_NAME = re.compile(r"[A-Za-z0-9@._+-]+")


def generate_key(bits: int = 4096) -> bytes:
    """A new RSA key as PEM ("RSA PRIVATE KEY"), as `melange keygen` writes it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public_key(pem: bytes) -> bytes:
    """The public half of a private key as PEM ("PUBLIC KEY"), which goes into a keyring."""
    from cryptography.hazmat.primitives import serialization

    return _load(pem).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def check_name(key_name: str) -> None:
    """Raises RepositoryError for a name that apk would not look for a key by."""
    if not _KEY_NAME.fullmatch(key_name):
        message = f"`{key_name}` cannot name a signing key"
        raise RepositoryError(message, hint="letters, digits and `@._+-` make a name, without `.rsa.pub`")


def sign_segment(signed: bytes, key_pem: bytes, key_name: str) -> bytes:
    """The segment to put before ``signed``; verifiers look for the public key under the name ``<key_name>.rsa.pub``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    check_name(key_name)
    key = _load(key_pem)
    try:
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature) as error:
        message = "the signing key is damaged: what it signs does not verify"
        raise RepositoryError(message, hint="`bg keygen` makes another one") from error
    return store(plain_file(f".SIGN.RSA256.{key_name}.rsa.pub", signature))


def sign_index(index_archive: bytes, key_pem: bytes, key_name: str) -> bytes:
    """The APKINDEX.tar.gz with its signature; it must not have one already."""
    return sign_segment(index_archive, key_pem, key_name) + index_archive


def sign_package(source: Path, destination: Path, key_pem: bytes, key_name: str) -> None:
    """Copies a package with its signature put before it, in place of one that it had.

    Raises RepositoryError where the source is no package, OutputError where the copy cannot be written.
    """
    from buildgraph.apk.package import read_package

    segments = read_package(source).segments
    with source.open("rb") as package:
        package.seek(segments.control)
        control = package.read(segments.data - segments.control)
        with replacing(destination) as file:
            file.write(sign_segment(control, key_pem, key_name))
            file.write(control)
            copy(package, [file])


@lru_cache(maxsize=4)
def _load(pem: bytes) -> RSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # Checking the numbers of a key takes 0.3 s; verifying each signature takes nothing, and says more.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = "the signing key cannot be read: it is not an unencrypted private key in PEM form"
        raise RepositoryError(message, hint="`bg keygen` makes one") from error
    if not isinstance(key, RSAPrivateKey):
        message = "the signing key is not an RSA key; apk knows no other"
        raise RepositoryError(message, hint="`bg keygen` makes one")
    return key
