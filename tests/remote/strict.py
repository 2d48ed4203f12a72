"""Users and roles of an S3 that checks who asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from buildgraph.remote.objects import ObjectStore
from buildgraph.structs import Struct


class Strict(Struct, frozen=True):
    """An S3 that checks who asks; its bucket ``strict`` belongs to an owner, who lets others in."""

    url: str
    owner: dict[str, str]

    def user(self, *actions: str, of: str = "arn:aws:s3:::strict*") -> dict[str, str]:
        """Credentials of a new user who may do these with the bucket's objects, or with the bucket."""
        name = f"user{len(self._client('iam').list_users()['Users'])}"
        self._client("iam").create_user(UserName=name)
        self._client("iam").put_user_policy(UserName=name, PolicyName="x", PolicyDocument=_allowing(actions, of))
        made = self._client("iam").create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}

    def role(self, name: str, trust: str, *actions: str) -> str:
        """The name of a new role that may do these with the bucket's objects, for whom a policy trusts."""
        made = self._client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
        policy = _allowing(actions, "arn:aws:s3:::strict*")
        self._client("iam").put_role_policy(RoleName=name, PolicyName="x", PolicyDocument=policy)
        return str(made["Arn"])

    def open(self, credentials: dict[str, str], path: str = "path") -> ObjectStore:
        """The store as somebody sees it."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"AWS_ENDPOINT": self.url, "AWS_REGION": "us-east-1", **credentials}.items():
                patch.setenv(name, value)
            return ObjectStore(f"s3://strict/{path}", 10)

    def begin(self) -> None:
        """Makes the bucket, and has access control begin."""
        from urllib3 import request

        self._client("s3").create_bucket(Bucket="strict")
        self.owner.update(self.user("*", of="*"))
        assert request("POST", f"{self.url}/moto-api/reset-auth", body=b"0").status == 200

    def _client(self, service: str) -> Any:
        import boto3  # type: ignore[import-untyped]

        key, secret = self.owner.get("AWS_ACCESS_KEY_ID", "x"), self.owner.get("AWS_SECRET_ACCESS_KEY", "x")
        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
        )


def _allowing(actions: Sequence[str], resource: str) -> str:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
