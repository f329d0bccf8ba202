"""Who may publish and subscribe what on the broker, from the names the code itself uses.

It guarantees that the gateway's list holds no right to publish a command, to make, change, purge or delete a
stream, or to listen to other clients' inboxes. ``CMD-*`` is not a wildcard in an API subject, so each command
stream stands in the list by name. See ARCHITECTURE.md 1 and 3.
"""

from dataclasses import dataclass
from enum import StrEnum

from redflag_broker_config.subjects import (
    BUCKETS,
    COMMAND_PREFIX,
    DISPATCHER_INBOX,
    DONE_PREFIX,
    GATEWAY_INBOX,
    PRESENCE_PREFIX,
    SERVICE_PREFIX,
    SHARDS,
    UP_PREFIX,
    WAKE_PREFIX,
    bucket_stream,
    bucket_subject,
    stream_name,
)

USER_INFO_SUBJECT = "$SYS.REQ.USER.INFO"
"""Asks the server about the asking user alone, so that a check can hear its rights from the server itself."""


class Service(StrEnum):
    """The programs that have credentials for the broker."""

    GATEWAY = "gateway"
    DISPATCHER = "dispatcher"
    SYSTEM = "system"  # the system account: reads the server's state, sees nothing of account RF


@dataclass(frozen=True, slots=True)
class Permissions:
    """Allow lists; what is not in them is refused by the broker."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def _command_stream_rights(shard: int) -> tuple[str, ...]:
    stream = stream_name(shard)
    subject = f"{COMMAND_PREFIX}.{shard}.*"
    api = "$JS.API"
    return (
        f"{api}.CONSUMER.CREATE.{stream}.*.{subject}",
        f"{api}.CONSUMER.INFO.{stream}.*",
        f"{api}.CONSUMER.DELETE.{stream}.*",
        f"{api}.CONSUMER.MSG.NEXT.{stream}.*",
        f"{api}.DIRECT.GET.{stream}.{subject}",
        f"$JS.ACK.{stream}.>",
    )


def _bucket_rights(bucket: str) -> tuple[str, ...]:
    # A watch is a consumer the gateway makes for itself; it ends by inactivity, so no right to delete is needed.
    return (f"$JS.API.CONSUMER.CREATE.{bucket_stream(bucket)}.*.{bucket_subject(bucket, '>')}",)


def gateway_permissions() -> Permissions:
    """Return the gateway's rights: pull and acknowledge commands, pass reports up, ask services, read buckets."""
    publish = [f"{UP_PREFIX}.>", f"{PRESENCE_PREFIX}.*", f"{SERVICE_PREFIX}.>", USER_INFO_SUBJECT]
    for shard in range(SHARDS):
        publish.extend(_command_stream_rights(shard))
    for bucket in BUCKETS:
        publish.extend(_bucket_rights(bucket))
    return Permissions(
        publish=tuple(publish),
        subscribe=(f"{GATEWAY_INBOX}.>", f"{WAKE_PREFIX}.*", f"{DONE_PREFIX}.*"),
    )


def dispatcher_permissions() -> Permissions:
    """Return the dispatcher's rights: everything in account RF."""
    return Permissions(publish=(">",), subscribe=(">",))


def inbox_prefix(service: Service) -> str:
    """Return the subject below which the service's client gets its answers.

    Raises:
        ValueError: the service has no inbox of its own.
    """
    prefixes = {
        Service.GATEWAY: GATEWAY_INBOX,
        Service.DISPATCHER: DISPATCHER_INBOX,
        Service.SYSTEM: "_INBOX",
    }
    return prefixes[service]
