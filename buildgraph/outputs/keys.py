"""The key that package repositories are signed with: the manifest's, or one per user that is made on first use.

A private key must not get into a repository by accident: it is for its owner alone to read, and git is told to ignore it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from buildgraph.apk import signing
from buildgraph.cache.cas import NOT_LINKABLE
from buildgraph.errors import OutputError, ToolError
from buildgraph.execute import git
from buildgraph.keys import ed25519
from buildgraph.outputs.export import SigningKey

DEFAULT_NAME = "buildgraph"
RESULTS_NAME = "results.key"
GITIGNORE = ".gitignore"


def load_key(path: Path) -> SigningKey:
    """The key in a file named ``NAME.rsa``. Raises OutputError."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        message = f"cannot read the signing key {path}: {error.strerror}"
        raise OutputError(message, hint="`bg keygen FILE.rsa` makes one") from error
    if b"PRIVATE KEY-----" not in pem:
        message = f"{path} is no private key in PEM form"
        raise OutputError(message, hint="`bg keygen FILE.rsa` makes one")
    return SigningKey(path.name.removesuffix(".rsa"), pem)


def user_key(folder: Path) -> tuple[SigningKey, bool]:
    """The user's own key, and whether it had to be made: by one of several that want it at once, while the others wait."""
    path = folder / f"{DEFAULT_NAME}.rsa"
    with ExitStack() as locked:
        with suppress(OSError):  # making it tells what is wrong with the folder; locks are not everywhere
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locked.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        made = not path.exists()
        if made:
            make_key(path)
        return load_key(path), made


def new_key(path: Path, environment: Mapping[str, str]) -> bool:
    """Makes a key pair and keeps it from git; True where the folder's .gitignore had to say so.

    Raises OutputError; RepositoryError for a name that apk would not look for a key by.
    """
    signing.check_name(path.name.removesuffix(".rsa"))
    told = not path.exists() and keep_from_git(path, environment)  # before there is something to keep
    make_key(path)
    return told


def new_results_key(path: Path, environment: Mapping[str, str]) -> tuple[str, bool]:
    """Makes a key that results are signed with; its public half, and whether the folder's .gitignore had to say so."""
    told = not path.exists() and keep_from_git(path, environment)
    private = ed25519.generate()
    _write_secret(path, private.encode() + b"\n")
    return ed25519.public(private), told


def make_key(path: Path) -> None:
    """Makes a key pair, never over an existing one. Raises OutputError."""
    pem = signing.generate_key()
    _write_secret(path, pem, signing.public_key(pem))


def _write_secret(path: Path, private: bytes, public: bytes | None = None) -> None:
    """Writes a private key, all of it or none and never over an existing one, and beside it the public one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".bg-", dir=path.parent) as folder:
            temporary = Path(folder, path.name)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(private)
            _put(temporary, path)
        if public is not None:
            path.with_name(path.name + ".pub").write_bytes(public)
    except FileExistsError as error:
        message = f"{path} is there already"
        raise OutputError(message, hint="take another name, or remove it if nothing was signed with it") from error
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise OutputError(message) from error


def _put(temporary: Path, path: Path) -> None:
    """Gives a file a name that none has yet. Raises FileExistsError, OSError."""
    try:
        os.link(temporary, path)
    except OSError as error:  # that a name is taken is told before what the file system cannot do
        if error.errno not in NOT_LINKABLE:
            raise
        temporary.rename(path)


def keep_from_git(path: Path, environment: Mapping[str, str]) -> bool:
    """Has git ignore a private key, whether or not it is there yet; True where its folder's .gitignore had to say so.

    Where git cannot be asked, a folder below a ``.git`` counts as one of its work tree. Raises OutputError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_open_to_git(path, environment):
            return False
        rules = path.with_name(GITIGNORE)
        text = rules.read_text() if rules.exists() else ""
        line = f"/{path.name}"
        if line in text.splitlines():
            return False
        with rules.open("a") as stream:  # what is there stays, whatever happens
            stream.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n")
    except OSError as error:
        message = f"cannot have git ignore {path}: {error.strerror}"
        raise OutputError(message) from error
    return True


def exposure(path: Path, environment: Mapping[str, str], what: str = "the signing key") -> str:
    """How a private key, ``what``, might get to others, for a warning; empty where all is well."""
    if path.stat().st_mode & 0o077:
        return f"others can read {what} {path}: `chmod 600` it"
    if _is_open_to_git(path, environment):
        return f"git does not ignore {what} {path}: it may get into a commit"
    return ""


def _is_open_to_git(path: Path, environment: Mapping[str, str]) -> bool:
    """Whether a file lies in a work tree of git, and git keeps track of it or would take it into a commit."""
    folder = path.parent.resolve()
    try:
        repository = git.find_repository(folder, environment)
        if repository is None or repository.top is None:
            return False
        inside = (folder / path.name).relative_to(repository.top.resolve()).as_posix()
        return inside in repository.index or not repository.ignored([inside])
    except ToolError:
        return any((above / ".git").exists() for above in (folder, *folder.parents))
