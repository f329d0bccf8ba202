"""Reports on their way up (docs/protocol.md 6 and 9).

Guarantees: nothing is promised to the agent before the broker has stored every report of the request; each is
published on the shard of the agent that was authenticated, whatever the report itself says; a repeated request costs
nothing but the broker's look at the message id. Nothing inside is parsed here: the dispatcher verifies.
"""

import asyncio
import hashlib
from uuid import UUID

from redflag_broker_config.subjects import HEADER_AGENT, HEADER_MESSAGE_ID, UpKind, shard_of, up_subject
from redflag_gateway.broker import Broker
from redflag_gateway.errors import MalformedError, NotStoredError, UnavailableError
from redflag_gateway.metrics import Metrics
from redflag_ops.logging import get_logger
from redflag_wire.errors import FramingRefusedError
from redflag_wire.report_framing import frame_reports, split_reports

CONTENT_TYPE = "application/vnd.redflag.reports.v1"
RETRY_S = 30  # when the broker refuses to store


class Reports:
    """Stores reports at the broker.

    Args:
        broker: the connection.
        metrics: where to count.
    """

    def __init__(self, broker: Broker, metrics: Metrics) -> None:
        self._broker = broker
        self._metrics = metrics
        self._log = get_logger()

    async def store(self, agent: UUID, body: bytes) -> int:
        """Store all reports of a request; return how many there were.

        Raises:
            MalformedError: the framing does not hold; final for this body.
            UnavailableError: ``not_stored``: the broker has no room; the agent sends again later.
            BrokerError: the broker could not be asked.
            BusyError: too much is asked of the broker already.
        """
        try:
            pairs = split_reports(body)
        except FramingRefusedError as error:
            raise MalformedError(error.code, error.detail) from None
        subject = up_subject(UpKind.REPORT, shard_of(agent))
        frames = [frame_reports([pair]) for pair in pairs]
        # All are awaited even when one fails: what is stored is stored, and the agent's resend is swallowed by id.
        outcomes = await asyncio.gather(
            *(self._store_one(agent, subject, frame) for frame in frames), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, NotStoredError):
                self._log.error("report.not_stored", agent=str(agent), code=outcome.code)
                raise UnavailableError(
                    "not_stored", "There is no room for reports now.", RETRY_S
                ) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
        self._metrics.reports_stored.inc(len(frames))
        self._metrics.report_bytes.inc(len(body))
        return len(frames)

    async def _store_one(self, agent: UUID, subject: str, frame: bytes) -> None:
        # The agent is part of the id: nobody can make another's report look like one already stored.
        headers = {
            HEADER_AGENT: agent.hex,
            HEADER_MESSAGE_ID: hashlib.sha256(agent.bytes + frame).hexdigest(),
        }
        await self._broker.store("report", subject, frame, headers)
