"""What the dispatcher counts. Labels come from closed lists only; no host is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The dispatcher's metrics, in a registry the caller owns."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commands = Counter(
            "redflag_commands",
            "Moves of commands, by kind and state entered.",
            ("kind", "state"),
            registry=registry,
        )
        self.intents_refused = Counter(
            "redflag_intents_refused",
            "Requested commands no signed intent covers.",
            ("code",),
            registry=registry,
        )
        self.commands_held = Gauge(
            "redflag_commands_held",
            "1 while no command of this kind is signed because of a limit.",
            ("kind", "reason"),
            registry=registry,
        )
        self.commands_waiting = Gauge(
            "redflag_commands_waiting",
            "Commands that wait to be signed, by kind.",
            ("kind",),
            registry=registry,
        )
        self.job_items = Counter(
            "redflag_job_items", "Items of jobs, by what became of them.", ("outcome",), registry=registry
        )
        self.job_items_waiting = Gauge(
            "redflag_job_items_waiting", "Items of jobs that are no commands yet.", registry=registry
        )
        self.pruned = Counter(
            "redflag_pruned", "Rows removed because their time was over.", ("what",), registry=registry
        )
        self.reports = Counter(
            "redflag_reports_ingested", "Reports stored, by kind.", ("kind",), registry=registry
        )
        self.reports_refused = Counter(
            "redflag_reports_refused", "Reports that did not pass the ladder.", ("code",), registry=registry
        )
        self.reports_repeated = Counter(
            "redflag_reports_repeated",
            "Reports that were stored already and confirmed again.",
            registry=registry,
        )
        self.chain_faults = Counter(
            "redflag_report_chain_faults", "Gaps and forks in report chains.", ("code",), registry=registry
        )
        self.ingest_batch = Histogram(
            "redflag_ingest_batch_messages",
            "Messages in one ingest transaction.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.ingest_seconds = Histogram(
            "redflag_ingest_batch_seconds", "Time of one ingest transaction.", registry=registry
        )
        self.published = Counter(
            "redflag_commands_published",
            "Publishes, by what the broker said.",
            ("outcome",),
            registry=registry,
        )
        self.outbox_due = Gauge("redflag_outbox_due", "Messages due to be published.", registry=registry)
        self.outbox_lag = Gauge(
            "redflag_outbox_lag_seconds", "Age of the oldest message due to be published.", registry=registry
        )
        self.reconciled = Counter(
            "redflag_reconciled",
            "Repairs of the reconciler, by what it found.",
            ("finding",),
            registry=registry,
        )
        self.deliveries = Counter(
            "redflag_command_deliveries", "Commands handed to hosts, repeats included.", registry=registry
        )
        self.enrolments = Counter(
            "redflag_enrolments", "Enrolment requests, by outcome.", ("outcome",), registry=registry
        )
        self.renewals = Counter(
            "redflag_renewals", "Renewals and confirmations, by outcome.", ("outcome",), registry=registry
        )
        self.scheduler_looks = Counter(
            "redflag_scheduler_looks", "Looks at due scans, by outcome.", ("outcome",), registry=registry
        )
        self.scheduler_due = Gauge(
            "redflag_scheduler_due", "Scans that are due, counted up to a bound.", registry=registry
        )
        self.scheduler_lag = Gauge(
            "redflag_scheduler_lag_seconds", "How late the scan is that is due longest.", registry=registry
        )
        self.loop_faults = Counter(
            "redflag_loop_faults", "Passing faults of background loops.", ("loop",), registry=registry
        )
        self.broker_connected = Gauge(
            "redflag_broker_connected", "1 while the broker is connected.", registry=registry
        )
