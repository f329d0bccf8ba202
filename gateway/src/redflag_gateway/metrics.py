"""What the gateway counts. Labels are closed lists: no agent id, no path, nothing a peer chooses."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_HELD_S = (0.01, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 55.0, 60.0)


class Metrics:
    """The gateway's counters and gauges.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = Counter(
            "redflag_gateway_requests", "Answered requests", ["route", "status"], registry=registry
        )
        self.refusals = Counter(
            "redflag_gateway_refusals", "Refused requests by code", ["code"], registry=registry
        )
        self.connections_refused = Counter(
            "redflag_gateway_connections_refused",
            "Connections that got no place or no handshake",
            ["reason"],
            registry=registry,
        )
        self.connections_ended = Counter(
            "redflag_gateway_connections_ended",
            "Connections ended by the watchdog",
            ["reason"],
            registry=registry,
        )
        self.records_dropped = Counter(
            "redflag_gateway_records_dropped",
            "Records of refusals the log had no room for",
            registry=registry,
        )
        self.commands_delivered = Counter(
            "redflag_gateway_commands_delivered", "Commands handed to agents", registry=registry
        )
        self.commands_unreadable = Counter(
            "redflag_gateway_commands_unreadable",
            "Messages on a command subject that are no envelope",
            registry=registry,
        )
        self.deliveries_strayed = Counter(
            "redflag_gateway_deliveries_strayed",
            "Deliveries nobody waited for, given back",
            registry=registry,
        )
        self.acked = Counter("redflag_gateway_acked", "Commands acknowledged by handle", registry=registry)
        self.handles_refused = Counter(
            "redflag_gateway_handles_refused", "Handles that were not the agent's", registry=registry
        )
        self.handles_ended = Counter(
            "redflag_gateway_handles_ended", "Handles of a consumer that is gone", registry=registry
        )
        self.reports_stored = Counter(
            "redflag_gateway_reports_stored", "Reports the broker has stored", registry=registry
        )
        self.report_bytes = Counter(
            "redflag_gateway_report_bytes", "Bytes of stored reports", registry=registry
        )
        self.batches_lost = Counter(
            "redflag_gateway_batches_lost",
            "Entries of presence or deliveries not told",
            ["kind"],
            registry=registry,
        )
        self.wakes = Counter("redflag_gateway_wakes", "Agents named in wake-ups", registry=registry)
        self.broker_messages_refused = Counter(
            "redflag_gateway_broker_messages_refused",
            "Messages from the broker that cannot be read",
            ["kind"],
            registry=registry,
        )
        self.broker_connected = Gauge(
            "redflag_gateway_broker_connected", "1 while the broker is connected", registry=registry
        )
        self.broker_seconds = Histogram(
            "redflag_gateway_broker_seconds",
            "Time of one request to the broker",
            ["operation"],
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self.request_seconds = Histogram(
            "redflag_gateway_request_seconds",
            "Time to answer, waiting polls left out",
            ["route"],
            buckets=_LATENCIES_S,
            registry=registry,
        )

        self.idle_poll_seconds = Histogram(
            "redflag_gateway_idle_poll_seconds",
            "How long polls were held that brought nothing",
            buckets=_HELD_S,
            registry=registry,
        )

    def watch_size(self, name: str, text: str, size: Callable[[], int]) -> None:
        """Show the size of a table, read when metrics are asked for.

        Args:
            name: follows ``redflag_gateway_``.
            text: what the figure means.
            size: returns it.
        """
        gauge = Gauge(f"redflag_gateway_{name}", text, registry=self._registry)
        gauge.set_function(lambda: float(size()))
