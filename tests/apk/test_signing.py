"""Keys and signatures, as melange makes them and apko checks them."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from buildgraph.apk.index import IndexEntry, index_archive
from buildgraph.apk.package import canonicalise, read_package
from buildgraph.apk.signing import generate_key, public_key, sign_index, sign_package, sign_segment
from buildgraph.apk.writer import PackageFile, write_package
from buildgraph.errors import RepositoryError

ELLIPTIC_KEY = b"""\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
"""


@pytest.fixture(scope="module")
def key() -> bytes:
    """One small key: making one takes longer than every test here."""
    return generate_key(2048)


def make_package(path: Path) -> Path:
    """An unsigned package with a file."""
    write_package(path, IndexEntry("foo", "1-r0", "x86_64"), {"usr/share/foo": PackageFile("file", data=b"foo\n")})
    return path


def test_a_key_has_the_form_of_melange_keygen(key: bytes) -> None:
    """PKCS#1 for the private half, PKIX for the public one; the same public half each time."""
    assert key.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert public_key(key).startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert public_key(key) == public_key(key)


def test_signing_again_gives_the_same_bytes(key: bytes, tmp_path: Path) -> None:
    """Nothing random is in a signature, so a repository exported twice is equal."""
    package = make_package(tmp_path / "foo.apk")
    sign_package(package, tmp_path / "one.apk", key, "key")
    sign_package(package, tmp_path / "other.apk", key, "key")

    assert sign_index(b"index", key, "key") == sign_index(b"index", key, "key") == sign_segment(b"index", key, "key") + b"index"
    assert (tmp_path / "one.apk").read_bytes() == (tmp_path / "other.apk").read_bytes()


def test_a_signature_changes_no_checksum_and_is_replaced(key: bytes, tmp_path: Path) -> None:
    """A package has one signature at most, before the bytes that it had; in place works too."""
    package = make_package(tmp_path / "foo.apk")
    content = package.read_bytes()
    sign_package(package, tmp_path / "signed.apk", key, "first")
    sign_package(tmp_path / "signed.apk", tmp_path / "signed.apk", key, "second")
    signed = (tmp_path / "signed.apk").read_bytes()
    info = read_package(tmp_path / "signed.apk", verify=True)

    assert signed[info.segments.control :] == content
    assert b".SIGN.RSA256.second.rsa.pub" in signed
    assert b"first" not in signed
    assert info.entry.checksum == read_package(package).entry.checksum


def test_openssl_agrees(key: bytes, tmp_path: Path) -> None:
    """The signature is the one that `openssl dgst -sha256 -sign` makes over the same bytes."""
    (tmp_path / "key.pem").write_bytes(key)
    command = ["openssl", "dgst", "-sha256", "-sign", str(tmp_path / "key.pem")]
    expected = subprocess.run(command, input=b"bytes", capture_output=True, check=True).stdout

    assert expected in sign_segment(b"bytes", key, "key")


@pytest.mark.parametrize("pem", [b"", b"nonsense", ELLIPTIC_KEY])
def test_what_is_no_rsa_key_is_refused(pem: bytes) -> None:
    """The error says so, and how to make one."""
    with pytest.raises(RepositoryError, match="signing key") as caught:
        sign_segment(b"bytes", pem, "key")

    assert "bg keygen" in caught.value.hint


def test_a_damaged_key_signs_nothing(key: bytes) -> None:
    """A wrong byte anywhere in its numbers is found before a signature leaves."""
    body = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    for place in range(8, len(body), len(body) // 40):
        damaged = base64.encodebytes(bytes([*body[:place], body[place] ^ 4, *body[place + 1 :]]))
        pem = b"-----BEGIN RSA PRIVATE KEY-----\n" + damaged + b"-----END RSA PRIVATE KEY-----\n"
        try:
            segment = sign_segment(b"bytes", pem, "key")
        except RepositoryError:
            continue
        assert segment == sign_segment(b"bytes", key, "key")


@pytest.mark.parametrize("name", ["", "../key", "a b", "key\n"])
def test_a_key_name_must_be_a_file_name(name: str, key: bytes) -> None:
    """It becomes part of a file's name in every keyring."""
    with pytest.raises(RepositoryError, match="cannot name"):
        sign_segment(b"bytes", key, name)


@pytest.mark.parametrize("signed", [True, False])
def test_apko_builds_from_a_signed_repository(signed: bool, key: bytes, apko: Path, tmp_path: Path) -> None:
    """With verification on apko takes a canonical, signed package from a signed index, and refuses an unsigned index."""
    folder = tmp_path / "repo" / "x86_64"
    folder.mkdir(parents=True)
    made = make_package(tmp_path / "made.apk")
    canonical = canonicalise(made, tmp_path / "canonical.apk")
    sign_package(tmp_path / "canonical.apk", folder / canonical.entry.filename, key, "bg")
    index = index_archive([read_package(folder / canonical.entry.filename).entry])
    (folder / "APKINDEX.tar.gz").write_bytes(sign_index(index, key, "bg") if signed else index)
    (tmp_path / "bg.rsa.pub").write_bytes(public_key(key))
    (tmp_path / "out").mkdir()
    recipe = "contents: {keyring: [./bg.rsa.pub], repositories: [./repo], packages: [foo]}\n"
    (tmp_path / "image.yaml").write_text(recipe)

    command = [str(apko), "build", "--arch", "x86_64", "--sbom=false", "--cache-dir", "cache", "image.yaml", "foo:1", "out"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (answer.returncode == 0) == signed, answer.stderr
    if signed:
        assert json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]


def test_melange_takes_the_signatures_for_its_own(melange: Path, key: bytes, tmp_path: Path) -> None:
    """`melange sign-index` finds an index signed already, and signs as this does."""
    index = index_archive([IndexEntry("foo", "1-r0", "x86_64")])
    (tmp_path / "bg.rsa").write_bytes(key)
    (tmp_path / "ours.tar.gz").write_bytes(sign_index(index, key, "bg"))
    (tmp_path / "theirs.tar.gz").write_bytes(index)
    for name in ("ours.tar.gz", "theirs.tar.gz"):
        command = [str(melange), "sign-index", "--signing-key", "bg.rsa", name]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert (tmp_path / "ours.tar.gz").read_bytes() == sign_index(index, key, "bg")
    assert (tmp_path / "theirs.tar.gz").read_bytes().endswith(index)
