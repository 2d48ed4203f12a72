"""The key that package repositories are signed with: the manifest's, or one per user that is made on first use."""

from __future__ import annotations

import os
from pathlib import Path

from buildgraph.apk import signing
from buildgraph.errors import OutputError
from buildgraph.outputs.export import SigningKey

DEFAULT_NAME = "buildgraph"


def load_key(path: Path) -> SigningKey:
    """The key in a file named ``NAME.rsa``. Raises OutputError."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        message = f"cannot read the signing key {path}: {error.strerror}"
        raise OutputError(message, hint="`bg keygen FILE.rsa` makes one") from error
    return SigningKey(path.name.removesuffix(".rsa"), pem)


def user_key(folder: Path) -> tuple[SigningKey, bool]:
    """The user's own key, and whether it had to be made."""
    path = folder / f"{DEFAULT_NAME}.rsa"
    made = not path.exists()
    if made:
        make_key(path)
    return load_key(path), made


def make_key(path: Path) -> None:
    """Makes a key pair, never over an existing one. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pem = signing.generate_key()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
        path.with_name(path.name + ".pub").write_bytes(signing.public_key(pem))
    except FileExistsError as error:
        message = f"{path} is there already"
        raise OutputError(message, hint="take another name, or remove it if nothing was signed with it") from error
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise OutputError(message) from error
