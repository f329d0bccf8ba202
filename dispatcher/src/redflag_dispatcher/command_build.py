"""Makes the one payload of a command: who, what, when, how long. Pure; the signer stores and signs the result.

A command's bytes are made once (docs/protocol.md 3): a retry of delivery is the same bytes, a retry of execution
is a new command.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from redflag_dispatcher.mandate import Mandate
from redflag_wire.base64_strict import encode
from redflag_wire.command import (
    LONGEST_LIFE,
    RUNTIME_MAX_S,
    By,
    Command,
    CommandKind,
    HostLimits,
    next_seq,
)
from redflag_wire.command_params import CommandParams, RebootParams, parse_params

NONCE_BYTES = 16  # makes the bytes unique; it is not the replay key


@dataclass(frozen=True, slots=True)
class Addressee:
    """What the signer knows of the agent, read under its row's lock.

    Attributes:
        agent: its id.
        akt: thumbprint of its key.
        last_seq: highest sequence number ever given out, 0 for none.
        seq_floor: the floor the agent last reported, 0 for none.
    """

    agent: UUID
    akt: str
    last_seq: int
    seq_floor: int


def max_runtime_s(params: CommandParams, timeout_s: int) -> int:
    """Return how long the host may be at it, in seconds: a reboot first waits as long as it was told to."""
    waits = params.delay_s if isinstance(params, RebootParams) else 0
    return min(RUNTIME_MAX_S, timeout_s + waits)


def build_command(
    *,
    fleet: str,
    command: UUID,
    op: UUID | None,
    params: dict[str, object],
    to: Addressee,
    mandate: Mandate,
    timeout_s: int,
    now: datetime,
    random: Callable[[int], bytes],
    wave: int | None = None,
    prev: UUID | None = None,
    life: timedelta | None = None,
) -> Command:
    """Return the payload of a command, with the next sequence number of its agent.

    Args:
        fleet: this installation.
        command: the command's id.
        op: the operation it belongs to; also the correlation id.
        params: with what; checked by ``intent_check`` before.
        to: for whom.
        mandate: what to do, and by whose word.
        timeout_s: seconds its work may take; a reboot's waiting is added to it.
        now: the signer's clock.
        random: source of the nonce.
        wave: the wave of the operation, if it has waves.
        prev: the expired, never started command this one replaces.
        life: shorter than the kind's longest life, if wanted.

    Raises:
        redflag_wire.errors.SchemaRefusedError: the parts do not make a valid payload.
    """
    kind = mandate.kind
    checked = parse_params(kind, params)
    longest = LONGEST_LIFE[kind]
    issued = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return Command.model_validate(
        {
            "v": 1,
            "fleet": fleet,
            "agent": to.agent,
            "akt": to.akt,
            "cmd": command,
            "op": op,
            "wave": wave,
            "seq": next_seq(to.last_seq, int(now.timestamp() * 1000), to.seq_floor),
            "kind": kind,
            "params": checked.model_dump(mode="json"),
            "iat": issued,
            "nbf": issued,
            "exp": issued + (longest if life is None else min(life, longest)),
            "nonce": encode(random(NONCE_BYTES)),
            "pol": HostLimits(
                window=None,
                allow_reboot=kind is CommandKind.REBOOT,
                max_runtime=max_runtime_s(checked, timeout_s),
            ),
            "by": By(approvers=list(mandate.approvers), intent=mandate.intent),
            "prev": prev,
            "artifacts": [],
        }
    )
