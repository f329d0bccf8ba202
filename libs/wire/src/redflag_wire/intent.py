"""The intent payload (docs/protocol.md 6): what an operator wants changed, signed by the API and stored from the start.

The signer makes no command that does not lie within an intent: same agent, a kind its verb allows, equal parameters.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from redflag_wire import limits
from redflag_wire.fields import FleetId, Id, JsonObject, Name, SchemaVersion
from redflag_wire.payload import Payload
from redflag_wire.payload_types import PayloadType
from redflag_wire.timestamps import Timestamp


class IntentVerb(StrEnum):
    """What operators do. When you add one: say in the signer which kinds of command it allows."""

    SCAN = "scan"
    COLLECT_SPECS = "collect_specs"
    APPROVE_UPDATES = "approve_updates"
    REJECT_UPDATES = "reject_updates"
    IGNORE_UPDATES = "ignore_updates"
    RESET_UPDATES = "reset_updates"
    PLAN_UPDATES = "plan_updates"
    CONFIRM_PLAN = "confirm_plan"
    INSTALL_UPDATES = "install_updates"
    ROLLBACK_UPDATES = "rollback_updates"
    REBOOT = "reboot"
    ENABLE_HEARTBEAT = "enable_heartbeat"
    DISABLE_HEARTBEAT = "disable_heartbeat"
    CANCEL_COMMAND = "cancel_command"
    CREATE_TOKEN = "create_token"  # noqa: S105 - a verb
    CHANGE_HOST = "change_host"
    CHANGE_GROUP = "change_group"
    CHANGE_SUBSYSTEM = "change_subsystem"
    CHANGE_SETTING = "change_setting"


class Intent(Payload):
    """One act of one operator, for one or many targets.

    Attributes:
        v: 1.
        fleet: the installation.
        intent: its identity.
        at: the API's time.
        operator: who.
        session: the session or API key it came by, or None.
        verb: what.
        targets: agents, each once; none for verbs without a host.
        params: with what; compared with the command's by the signer.
        approvals: what others signed for it; empty until approvals by several people exist.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.INTENT

    v: SchemaVersion = 1
    fleet: FleetId
    intent: Id
    at: Timestamp
    operator: Name
    session: Name | None
    verb: Annotated[IntentVerb, Field(strict=False)]
    targets: list[Id] = Field(max_length=limits.TARGETS_MAX)
    params: dict[str, JsonValue]
    approvals: list[JsonObject] = Field(default_factory=list, max_length=limits.APPROVERS_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("a target is named twice")
        return self
