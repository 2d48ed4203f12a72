"""Who to be at S3 by the files of Amazon's own tools: profiles, the roles that they assume, single sign-on, web identity.

The one door to botocore, whose chain of credentials it is. What stands in the environment as it is (``AWS_ACCESS_KEY_ID``), and
who a container or a machine is, obstore finds out by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from buildgraph.structs import Struct

_OF_OBSTORE = ("env", "container-role", "iam-role")
_ASK_AGAIN = timedelta(minutes=15)  # botocore gets new ones before the old ones end
# botocore knows the second alone; other tools of Amazon's know the first, and so does obstore.
_REGION = {"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)}


class Identity(Struct, frozen=True):
    """What gives credentials as obstore wants them, None where the files name nobody; and the region, which may be empty."""

    credentials: Callable[[], dict[str, Any]] | None
    region: str


def identity() -> Identity:
    """Who to be, and where. What is wrong with the files is told by whoever asks for credentials."""
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    session = Session(_REGION)
    try:
        region = session.get_config_variable("region") or ""
        chain = session.get_component("credential_provider")
        for method in _OF_OBSTORE:
            chain.remove(method)
        found = chain.load_credentials()
    except BotoCoreError as error:
        return Identity(_raising(str(error)), "")
    return Identity(partial(_current, found) if found else None, region)


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
