"""What the dispatcher asks the broker about its command streams: which incarnation, what is in them, wake-ups.

A stream of the same name that was made again after a wiped store has another ``created`` time; that is how a loss
of everything is told from a busy queue. See ARCHITECTURE.md 2.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from nats.aio.client import Client

from redflag_broker_config import api
from redflag_broker_config.subjects import (
    COMMAND_PREFIX,
    HEADER_MESSAGE_ID,
    SHARDS,
    agent_of,
    command_subject,
    shard_of,
    stream_name,
    wake_subject,
)

GET_DEADLINE_S = 5.0
WAKE_MAX_AGENTS = 10_000  # ids in one wake-up message: 350 kB
SUBJECT_PAGES_MAX = 1000  # of 100,000 subjects each


def parse_created(text: str) -> datetime:
    """Read a stream's ``created`` time, which has up to nine fraction digits, to the microsecond."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00")


class Streams:
    """Questions to the command streams.

    Args:
        nc: a connection with the dispatcher's rights.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._created: dict[int, datetime] = {}

    async def refresh(self) -> Mapping[int, datetime]:
        """Ask when each command stream was made; remembered for ``all_created``.

        Raises:
            redflag_broker_config.errors.BrokerConfigError: a stream is not there, or no answer.
        """
        for shard in range(SHARDS):
            info = await api.request(self._nc, f"STREAM.INFO.{stream_name(shard)}")
            self._created[shard] = parse_created(info["created"])
        return dict(self._created)

    def all_created(self) -> Mapping[int, datetime]:
        """Return when each shard's stream was made, as last asked; empty before the first answer."""
        return dict(self._created)

    async def message_at(self, agent: UUID, seq: int) -> str | None:
        """Return the id of the message that lies at this place of the agent's stream, None when nothing does."""
        body = json.dumps({"seq": seq}).encode()
        answer = await self._nc.request(
            f"$JS.API.DIRECT.GET.{stream_name(shard_of(agent))}", body, timeout=GET_DEADLINE_S
        )
        headers = answer.headers or {}
        if "Status" in headers or headers.get("Nats-Subject") != command_subject(agent):
            return None
        return headers.get(HEADER_MESSAGE_ID)

    async def take_out(self, agent: UUID, seq: int, expected: str) -> bool:
        """Delete the message at this place, if it is the expected one; return whether it was there.

        Raises:
            redflag_broker_config.errors.BrokerConfigError: the broker refused, or did not answer.
        """
        if await self.message_at(agent, seq) != expected:
            return False
        await api.request(
            self._nc, f"STREAM.MSG.DELETE.{stream_name(shard_of(agent))}", {"seq": seq, "no_erase": True}
        )
        return True

    async def counts(self, shard: int) -> dict[UUID, int]:
        """Return how many messages wait for each agent of a shard."""
        found: dict[UUID, int] = {}
        offset = 0
        for _ in range(SUBJECT_PAGES_MAX):
            info: dict[str, Any] = await api.request(
                self._nc,
                f"STREAM.INFO.{stream_name(shard)}",
                {"subjects_filter": f"{COMMAND_PREFIX}.{shard}.*", "offset": offset},
            )
            page = info.get("state", {}).get("subjects") or {}
            for subject, count in page.items():
                try:
                    found[agent_of(subject)] = int(count)
                except ValueError:
                    continue  # a planted subject that belongs to no agent; hosts never see it
            offset += len(page)
            if not page or offset >= int(info.get("total", 0)):
                break
        return found

    async def wake(self, agents: Iterable[UUID]) -> None:
        """Tell the gateways which agents have something new; a lost wake-up is repeated by the reconciler."""
        by_shard: defaultdict[int, set[UUID]] = defaultdict(set)
        for agent in agents:
            by_shard[shard_of(agent)].add(agent)
        for shard, members in by_shard.items():
            ids = [agent.hex for agent in sorted(members)]
            for start in range(0, len(ids), WAKE_MAX_AGENTS):
                await self._nc.publish(
                    wake_subject(shard), json.dumps(ids[start : start + WAKE_MAX_AGENTS]).encode()
                )
