"""The user's file with credentials for stores, ``credentials.yaml``: where each secret is, by the address of the store.

Nothing of the file's text is in an error but names of its keys, with file and line. A file that others can read is refused.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from buildgraph.errors import ManifestError, Place, RecipeError, did_you_mean
from buildgraph.recipes import yamltext
from buildgraph.recipes.values import carries_login
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence
from buildgraph.structs import Struct

FILE_NAME = "credentials.yaml"
SCHEMES = ("https", "http", "oci", "oci+http", "grpcs", "grpc")
_OWN_CLIENTS = ("s3", "gs", "az")
_SECRETS = ("token", "password", "value")
_FORMS = ("", "-file", "-command")
KEYS = ("user", "header", *(f"{secret}{form}" for secret in _SECRETS for form in _FORMS))
# What each kind of secret comes with, and what that is called in errors.
_BESIDE = {"token": "", "password": "user", "value": "header"}
_HINT = (
    "`token`; or `user` with `password`; or `header` with `value`; each secret as it is, or as `-file` or `-command` that has it"
)


class Secret(Struct, frozen=True):
    """Where a secret is: a text itself, the path of a file, the words of a command."""

    form: Literal["text", "file", "command"]
    given: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Secret({self.form!r}, ...)"


class Entry(Struct, frozen=True):
    """What to say to the stores at and below an address: a user with a password, a header with a value, or else a token.

    ``place`` is file and line, for errors.
    """

    address: str
    secret: Secret
    place: str
    user: str = ""
    header: str = ""


def load_credentials(path: Path) -> tuple[Entry, ...]:
    """The entries of the file at ``path``; none where there is no file.

    Raises ManifestError for a file that others can read, that is not the user's, or that says something else.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            _expect_private(path, os.fstat(stream.fileno()))
            data = stream.read(yamltext.MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    return _Reader(str(path)).entries(data)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for somebody who writes to a named pipe


def _expect_private(path: Path, info: os.stat_result) -> None:
    """Raises ManifestError for a file that is not the user's alone."""
    if not stat.S_ISREG(info.st_mode):
        raise ManifestError(f"cannot read {path}: not a regular file")
    if info.st_uid not in {os.geteuid(), 0}:
        raise ManifestError(f"{path} belongs to another user", hint="credentials are taken only from a file of one's own")
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ManifestError(f"others can read or change {path}", hint=f"chmod 600 {shlex.quote(str(path))}")


def find_entry(entries: tuple[Entry, ...], address: str) -> Entry | None:
    """The entry for a store: of those that it lies at or below the one with the longest address."""
    address = address.rstrip("/")
    fitting = [one for one in entries if address == one.address or address.startswith(f"{one.address}/")]
    return max(fitting, key=lambda one: len(one.address), default=None)


class _Reader:
    """Turns the file's YAML into entries; errors have no excerpt, which could be a secret."""

    def __init__(self, path: str) -> None:
        self.path = path

    def entries(self, data: bytes) -> tuple[Entry, ...]:
        if all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines()):
            return ()
        try:
            tree = yamltext.parse(data, self.path)
        except RecipeError as error:
            # Not in its own words: they may quote what the line has.
            raise self.error("not valid YAML", error.where.line if error.where else 0) from None
        top = self.mapping(tree, "the file")
        self.known(top, ("stores",))
        if "stores" not in top.items:
            return ()
        stores = self.mapping(top.items["stores"], "`stores`")
        return tuple(self.entry(address, node, stores.keys[address][0]) for address, node in stores.items.items())

    def entry(self, address: str, node: Node, line: int) -> Entry:
        self.check(address, line)
        given = self.mapping(node, "what a store has")
        self.known(given, KEYS)
        named = [(secret, form) for secret in _SECRETS for form in _FORMS if f"{secret}{form}" in given.items]
        if len(named) != 1:
            raise self.error("a store needs one secret" + (", not several" if named else ""), line, _HINT)
        ((secret, form),) = named
        beside = {key: self.text(given.items[key], f"`{key}`") for key in ("user", "header") if key in given.items}
        if set(beside) != ({_BESIDE[secret]} - {""}):
            wanted = f"`{secret}{form}` comes with `{_BESIDE[secret]}`" if _BESIDE[secret] else f"`{secret}{form}` comes alone"
            raise self.error(wanted, given.keys[f"{secret}{form}"][0], _HINT)
        if "header" in beside and not _is_name(beside["header"]):
            raise self.error("`header` is no name of a header", given.keys["header"][0])
        place = f"{self.path}:{given.keys[f'{secret}{form}'][0]}"
        return Entry(address.rstrip("/"), self.secret(given.items[f"{secret}{form}"], form), place, **beside)

    def secret(self, node: Node, form: str) -> Secret:
        if form == "-command":
            if isinstance(node, Sequence):
                words = tuple(self.text(item, "a word of a command") for item in node.items)
            else:
                words = self.words(node)
            if not words or not words[0]:
                raise self.error("a command needs a program", node.line)
            return Secret("command", words)
        text = self.text(node, "a secret" if not form else "a file")
        if not text:
            raise self.error("a secret, or the file that has it, must not be empty", node.line)
        return Secret("file" if form else "text", (text,))

    def words(self, node: Node) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self.text(node, "a command")))
        except ValueError:
            raise self.error("a command has a quote that does not end", node.line) from None

    def check(self, address: str, line: int) -> None:
        scheme, colon, _ = address.partition("://")
        if not colon or scheme not in SCHEMES:
            if scheme in _OWN_CLIENTS:
                hint = "those of the service's own clients: AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_*"
                raise self.error(f"`{scheme}://` has credentials of its own", line, hint)
            hint = did_you_mean(scheme, SCHEMES) if colon else ""
            raise self.error("not the address of a store", line, hint or "as `remotes:` has it, such as https://cache.example/bg")
        if carries_login(address):
            raise self.error("an address with a user or password in it", line, "`user` and `password` say them")
        if not urlsplit(address).netloc:
            raise self.error("an address without a host", line)

    def mapping(self, node: Node, what: str) -> Mapping:
        if isinstance(node, Mapping):
            return node
        raise self.error(f"{what} must be a mapping", node.line)

    def known(self, given: Mapping, keys: tuple[str, ...]) -> None:
        for key in given.items:
            if key not in keys:
                close = did_you_mean(key, keys)  # what is like no key at all may be a secret out of its place
                what = f"unknown key `{key}`" if close else "unknown key"
                raise self.error(what, given.keys[key][0], close or "the keys are " + ", ".join(keys))

    def text(self, node: Node, what: str) -> str:
        if isinstance(node, Scalar):
            return node.text
        raise self.error(f"{what} must be a text", node.line)

    def error(self, message: str, line: int, hint: str = "") -> ManifestError:
        return ManifestError(message, where=Place(self.path, line), hint=hint)


def _is_name(text: str) -> bool:
    """Whether a text is the name of a header (RFC 9110, `token`)."""
    return bool(text) and text.isascii() and all(character.isalnum() or character in "!#$%&'*+-.^_`|~" for character in text)
