"""Who to be at S3 by the files of Amazon's own tools: profiles, the roles that they assume, single sign-on, web identity.

The one door to botocore, whose chain of credentials it is. What stands in the environment as it is (``AWS_ACCESS_KEY_ID``), and
who a container or a machine is, obstore finds out by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from buildgraph.structs import Struct

_OF_OBSTORE = ("env", "container-role", "iam-role")
_ASK_AGAIN = timedelta(minutes=15)  # botocore gets new ones before the old ones end


class Identity(Struct, frozen=True):
    """What gives credentials as obstore wants them, and the region of the profile, empty where it names none."""

    credentials: Callable[[], dict[str, Any]]
    region: str


def identity() -> Identity | None:
    """Who to be; None where the files name nobody. What is wrong with them is told by whoever asks for credentials."""
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    session = Session()
    try:
        region = session.get_config_variable("region") or ""
        chain = session.get_component("credential_provider")
        for method in _OF_OBSTORE:
            chain.remove(method)
        found = chain.load_credentials()
    except BotoCoreError as error:
        return Identity(_raising(str(error)), "")
    return None if found is None else Identity(lambda: _current(found), region)


def _current(found: Any) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        frozen = found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise PermissionError(str(error)) from error
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + _ASK_AGAIN,
    }


def _raising(reason: str) -> Callable[[], dict[str, Any]]:
    def refuse() -> dict[str, Any]:
        raise PermissionError(reason)

    return refuse
