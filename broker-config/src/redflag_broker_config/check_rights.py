"""Compare the rights a running server gives to a service with the definition.

It guarantees that the answer is the server's own word about the very credentials that asked: a server whose
configuration was widened by hand is told from one as defined, in both directions. Nothing is changed.
"""

import json
from collections.abc import Mapping
from typing import Any

import nats.errors
from nats.aio.client import Client

from redflag_broker_config.compare import Difference
from redflag_broker_config.errors import ApiTimeoutError
from redflag_broker_config.permissions import (
    USER_INFO_SUBJECT,
    Permissions,
    Service,
    dispatcher_permissions,
    gateway_permissions,
)
from redflag_broker_config.server_config import ACCOUNT

DEADLINE_S = 5.0


async def check_rights(nc: Client, service: Service) -> list[Difference]:
    """Return where the rights of the connection's own user differ from the service's definition.

    Args:
        nc: a connection with the service's credentials.
        service: gateway or dispatcher.

    Raises:
        ApiTimeoutError: the server does not tell, for example because even that right is missing.
    """
    try:
        message = await nc.request(USER_INFO_SUBJECT, b"", timeout=DEADLINE_S)
    except (TimeoutError, nats.errors.Error) as error:
        raise ApiTimeoutError(USER_INFO_SUBJECT, DEADLINE_S) from error
    expected = gateway_permissions() if service is Service.GATEWAY else dispatcher_permissions()
    return compare_rights(service, expected, json.loads(message.data).get("data", {}))


def compare_rights(service: Service, expected: Permissions, told: Mapping[str, Any]) -> list[Difference]:
    """Compare what the server tells of a user.

    Args:
        service: whose rights they are; for the differences' text.
        expected: the definition.
        told: the ``data`` of the server's answer.
    """
    where = f"rights of {service}"
    differences = []
    if told.get("account") != ACCOUNT:
        differences.append(Difference(where, "account", ACCOUNT, told.get("account")))
    permissions = told.get("permissions") or {}
    for direction, subjects in (("publish", expected.publish), ("subscribe", expected.subscribe)):
        # No list at all means that everything is allowed.
        allowed = set((permissions.get(direction) or {}).get("allow") or [">"])
        more, fewer = sorted(allowed - set(subjects)), sorted(set(subjects) - allowed)
        differences += [Difference(where, direction, "not allowed", subject) for subject in more]
        differences += [Difference(where, direction, subject, "not allowed") for subject in fewer]
    return differences
