"""The user's file with credentials: what it says, how its errors look, and that they show nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import ManifestError
from buildgraph.workspace.credentials import Entry, Secret, find_entry, load_credentials

SECRET = "s3cr3t-w0rd"
OF_A = "stores:\n  https://a.example:\n"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    """The file, which only its owner reads unless something else is said."""
    path = folder / "credentials.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(folder: Path, text: str, mode: int = 0o600) -> str:
    """The message for a file that is refused, which never has the secret."""
    with pytest.raises(ManifestError) as error:
        load_credentials(written(folder, text, mode))
    message = error.value.render()
    assert SECRET not in message
    assert SECRET not in str(error.value.__cause__ or "")
    return message.replace(f"{folder}/credentials.yaml", "")


def test_each_form_of_a_secret(tmp_path: Path) -> None:
    """A token, a user with a password, a header with a value: as text, in a file, by a command in words or as a line."""
    path = written(
        tmp_path,
        """
stores:
  https://one.example/bg/:
    token: s3cr3t-w0rd
  grpcs://two.example:
    user: ci
    password-file: ~/secrets/two
  grpc://three.example:8980:
    header: x-api-key
    value-command: [pass, show, "my cache"]
  oci://four.example/team/cache:
    user: ci
    password-command: pass show 'my cache'
""",
    )
    assert load_credentials(path) == (
        Entry("https://one.example/bg", Secret("text", (SECRET,)), f"{path}:4"),
        Entry("grpcs://two.example", Secret("file", ("~/secrets/two",)), f"{path}:7", user="ci"),
        Entry("grpc://three.example:8980", Secret("command", ("pass", "show", "my cache")), f"{path}:10", header="x-api-key"),
        Entry("oci://four.example/team/cache", Secret("command", ("pass", "show", "my cache")), f"{path}:13", user="ci"),
    )
    assert SECRET not in repr(load_credentials(path))


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "stores: {}\n", "{}\n"])
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    """Nor does one that is not there."""
    assert load_credentials(written(tmp_path, text)) == ()
    assert load_credentials(tmp_path / "none") == ()
    assert load_credentials(tmp_path / "credentials.yaml" / "none") == ()


def test_the_longest_address_counts(tmp_path: Path) -> None:
    """Of the store itself or above it; a host's name, a port or a word of a path that only begins alike is another."""
    stores = "".join(
        f"  {address}: {{token: t}}\n" for address in ("https://a.example", "https://a.example/team", "https://b.example:8443/x")
    )
    entries = load_credentials(written(tmp_path, f"stores:\n{stores}"))

    def found(address: str) -> str:
        entry = find_entry(entries, address)
        return entry.address if entry else ""

    assert found("https://a.example/team/cache") == "https://a.example/team"
    assert found("https://a.example/team/") == "https://a.example/team"
    assert found("https://a.example/teams") == "https://a.example"
    assert found("https://a.example.evil/") == ""
    assert found("http://a.example/team") == ""
    assert found("https://b.example/x") == ""
    assert found("https://b.example:8443/x/y") == "https://b.example:8443/x"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o777])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Or change. The hint mends it."""
    message = refused(tmp_path, f"stores: {{https://a.example: {{token: {SECRET}}}}}\n", mode)
    assert message.startswith("error: others can read or change ")
    assert "hint: chmod 600 " in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OF_A + "    tokn: s3cr3t-w0rd\n", ":3: unknown key `tokn`\n\nhint: did you mean `token`"),
        (OF_A + "    s3cr3t-w0rd: x\n", ":3: unknown key\n\nhint: the keys are user"),
        ("store:\n  x: s3cr3t-w0rd\n", ":1: unknown key `store`\n\nhint: did you mean `stores`"),
        ("stores:\n  htps://a.example: {token: s3cr3t-w0rd}\n", ":2: not the address of a store\n\nhint: did you mean `https`"),
        ("stores:\n  a.example: {token: s3cr3t-w0rd}\n", ":2: not the address of a store\n\nhint: as `remotes:`"),
        ("stores:\n  s3://bucket: {token: s3cr3t-w0rd}\n", ":2: `s3://` has credentials of its own\n\nhint: those of"),
        ("stores:\n  https://u:s3cr3t-w0rd@a.example: {token: t}\n", ":2: an address with a user or password in it"),
        (OF_A + "    user: ci\n", ":2: a store needs one secret\n\nhint: `token`; or"),
        ("stores:\n  https://a.example: {}\n", ":2: a store needs one secret\n"),
        (OF_A + "    token: s3cr3t-w0rd\n    token-file: x\n", ":2: a store needs one secret, not several"),
        (OF_A + "\n    password: s3cr3t-w0rd\n", ":4: `password` comes with `user`"),
        (OF_A + "    user: ci\n    token: s3cr3t-w0rd\n", ":4: `token` comes alone"),
        (OF_A + "    header: a b\n    value: s3cr3t-w0rd\n", ":3: `header` is no name of a header"),
        (OF_A + "    token-command: pass 's3cr3t-w0rd\n", ":3: a command has a quote that does not end"),
        (OF_A + "    token-command: []\n", ":3: a command needs a program"),
        (OF_A + "    token: [s3cr3t-w0rd]\n", ":3: a secret must be a text"),
        (OF_A + "    token: ''\n", ":3: a secret, or the file that has it, must not be empty"),
        ("stores:\n  https://a.example: s3cr3t-w0rd\n", ":2: what a store has must be a mapping"),
        ("stores: [s3cr3t-w0rd]\n", ":1: `stores` must be a mapping"),
        ("- s3cr3t-w0rd\n", ":1: the file must be a mapping"),
        ("stores:\n  https://a.example: {token: 's3cr3t-w0rd\n", "not valid YAML"),
        (OF_A + "    token: s3cr3t-w0rd\n    token: s3cr3t-w0rd\n", ":4: not valid YAML"),
        ("stores: {https://a.example: {token: \x01s3cr3t-w0rd}}\n", ":1: not valid YAML"),
    ],
)  # fmt: skip
def test_errors_have_file_and_line_and_no_secret(tmp_path: Path, text: str, message: str) -> None:
    """And say what could be meant."""
    assert message in refused(tmp_path, text)
