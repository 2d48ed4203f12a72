"""Who to be at S3 by the files of Amazon's own tools: profiles, roles, web identity."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.remote import aws
from buildgraph.remote.connect import connect
from buildgraph.remote.store import RefusedError, Store
from buildgraph.web.access import Access
from tests.remote.contract import KEYS
from tests.remote.makers import CI, cas_in, give, sharing
from tests.remote.strict import Strict

Configure = Callable[..., Store]


@pytest.fixture
def configure(strict: Strict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """The store as somebody sees it whose ``~/.aws`` has such files, and with such an environment."""
    home = tmp_path / "home"
    home.mkdir()

    def open_store(files: dict[str, str] | None = None, **environment: str) -> Store:
        for name, content in (files or {}).items():
            (home / ".aws").mkdir(exist_ok=True)
            (home / ".aws" / name).write_text(content)
        known = {"HOME": str(home), "AWS_ENDPOINT": strict.url, "AWS_ENDPOINT_URL_STS": strict.url, **environment}
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        return connect("s3://strict/path", tmp_path, Access.of(known))

    return open_store


def profile(name: str, credentials: dict[str, str]) -> str:
    """A profile with keys, as `aws configure` writes it."""
    return f"[{name}]\n" + "".join(f"{key.lower()} = {value}\n" for key, value in credentials.items())


def test_the_default_profile(strict: Strict, configure: Configure) -> None:
    """Its keys and its region count, with nothing in the environment."""
    user = strict.user("s3:GetObject", "s3:PutObject")
    store = configure({"credentials": profile("default", user), "config": "[default]\nregion = eu-west-1\n"})
    store.put_result(KEYS[0], b"by profile", [])
    assert store.result(KEYS[0]) == b"by profile"


def test_a_profile_that_the_environment_names(strict: Strict, configure: Configure) -> None:
    """It is taken, not the default."""
    known = profile("default", {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x"})
    mine = strict.user("s3:GetObject", "s3:PutObject")
    files = {"credentials": known + profile("mine", mine), "config": "[profile mine]\nregion = us-east-1\n"}
    configure(files, AWS_PROFILE="mine").put_result(KEYS[1], b"mine", [])
    with pytest.raises(RefusedError, match="403"):
        configure(AWS_PROFILE="default", AWS_REGION="us-east-1").result(KEYS[1])


def test_keys_in_the_environment_go_before_profiles(strict: Strict, configure: Configure) -> None:
    """As with Amazon's own tools."""
    wrong = profile("default", {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x"})
    user = strict.user("s3:GetObject", "s3:PutObject")
    configure({"credentials": wrong}, AWS_REGION="us-east-1", **user).put_result(KEYS[2], b"by environment", [])


@pytest.mark.parametrize(
    ("credentials", "variables", "region"),
    [
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b\n", {}, "eu-west-1"),
        ("", {}, "eu-west-1"),
        ("", {"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ("", {"AWS_DEFAULT_REGION": "eu-west-2", "AWS_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
def test_the_region(configure: Configure, credentials: str, variables: dict[str, str], region: str) -> None:
    """It is the environment's, else the profile's, whoever has the credentials: a machine's role too."""
    configure({"credentials": credentials, "config": "[default]\nregion = eu-west-1\n"}, **variables)
    found = aws.identity()
    assert (bool(found.credentials), found.region) == (bool(credentials), region)


def test_a_role_that_a_profile_assumes(strict: Strict, configure: Configure) -> None:
    """What the role may do counts, not what its user may."""
    everybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    arn = strict.role("assumed", json.dumps({"Statement": [everybody]}), "s3:GetObject", "s3:PutObject")
    user = strict.user("sts:AssumeRole", of="*")
    config = f"[profile ci]\nrole_arn = {arn}\nsource_profile = base\nregion = us-east-1\n"
    files = {"credentials": profile("base", user), "config": config}
    configure(files, AWS_PROFILE="ci").put_result(KEYS[3], b"as a role", [])
    with pytest.raises(RefusedError, match="403"):
        configure(AWS_PROFILE="base", AWS_REGION="us-east-1").put_result(KEYS[3], b"as the user", [])


def trust_policy(branch: str) -> str:
    """The policy of docs/stores.md for a repository of somebody's, which trusts the tokens of a branch or of pull requests."""
    docs = (Path(__file__).parents[2] / "docs/stores.md").read_text()
    text = docs.partition("The role's trust policy:\n\n")[2].partition("\n\n")[0]
    assert "ref:refs/heads/main" in text
    return text.replace("OWNER/REPOSITORY:ref:refs/heads/main", f"ada/shop:{branch}")


def token(folder: Path, branch: str) -> str:
    """A file with a token that GitHub gives to a job."""
    claims = {"aud": "sts.amazonaws.com", "sub": f"repo:ada/shop:{branch}"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "RS256"}, claims)]
    path = folder / branch.replace("/", "-")
    path.write_text(".".join([*parts, "c2ln"]))
    return str(path)


def test_web_identity(strict: Strict, configure: Configure, tmp_path: Path) -> None:
    """The protected branch writes; a pull request has hits, and may neither write nor take the role that does."""
    main, pulls = "ref:refs/heads/main", "pull_request"
    writer = strict.role("cache-writer", trust_policy(main), "s3:GetObject", "s3:PutObject")
    reader = strict.role("cache-reader", trust_policy(pulls), "s3:GetObject")
    branch = configure(AWS_WEB_IDENTITY_TOKEN_FILE=token(tmp_path, main), AWS_ROLE_ARN=writer, AWS_REGION="us-east-1")
    _, key = give(branch, tmp_path / "origin", CI)

    pull_request = configure(AWS_WEB_IDENTITY_TOKEN_FILE=token(tmp_path, pulls), AWS_ROLE_ARN=reader)
    shared = sharing(pull_request, cas_in(tmp_path / "here"), writes=False)
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    with pytest.raises(RefusedError, match="403"):
        pull_request.put_result(KEYS[0], b"by a pull request", [])
    with pytest.raises(RefusedError, match="AccessDenied"):
        configure(AWS_WEB_IDENTITY_TOKEN_FILE=token(tmp_path, pulls), AWS_ROLE_ARN=writer).result(KEYS[0])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[default]\nregion = us-east-1\n", "config profile (gone) could not be found"),
        ("[profile gone]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = nobody\nregion = us-east-1\n", "nobody"),
        ("no file of profiles\n", "config file"),
    ],
    ids=["no such profile", "no such source", "no config"],
)
def test_what_is_wrong_with_the_files_makes_the_store_fail(configure: Configure, config: str, reason: str) -> None:
    """It says what, and the build goes on."""
    store = configure({"config": config}, AWS_PROFILE="gone", AWS_REGION="us-east-1")
    with pytest.raises(RefusedError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        store.result(KEYS[0])
