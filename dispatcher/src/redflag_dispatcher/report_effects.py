"""What a batch of accepted reports changes, gathered before anything is written. Pure.

Reports come in the order of each agent's numbers. What a report says about a command counts only when the command
is known, the agent's own, and the very bytes the signer made: otherwise somebody else's word, or an effect without a
signature, would pass for a result. Such a report is an alarm and nothing else.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from redflag_dispatcher import result_text
from redflag_dispatcher.apply_report import Moves, decide
from redflag_dispatcher.command_moves import moves_of
from redflag_dispatcher.package_results import extra_changes
from redflag_dispatcher.package_writes import InstallOp, InventoryOp, PackageOp, PlanOp
from redflag_dispatcher.report_body import BAD_ROWS_NAMED, ReadReport
from redflag_store.command_states import END_STATES, ServerState
from redflag_store.event_folding import component_of
from redflag_store.queries.ingest import CommandChange, CommandRow, FactsRow
from redflag_store.queries.journal import EventRow, MoveRow
from redflag_store.queries.package_results import PlanRow
from redflag_store.states import Severity
from redflag_wire.command import CommandKind
from redflag_wire.envelope import digest
from redflag_wire.errors import WireError
from redflag_wire.report import CommandState, Report, ReportKind

COMPONENT = "ingest"
_CHANGES_PACKAGES = frozenset({CommandKind.INSTALL_UPDATES, CommandKind.ROLLBACK_UPDATE})


@dataclass(slots=True)
class Effects:
    """Everything a batch of reports is going to write besides the reports themselves.

    Attributes:
        commands: the commands the reports name, locked.
        at: the server's time.
        new_id: makes keys.
        states: where each command stands after the reports so far.
        changes: what each command's row becomes.
        moves: the steps on the way.
        ended: (kind, state) of the ends reached, counted.
        packages: what is to be done to packages, in order.
        facts: the newest facts of each agent.
        events: what people should know.
        taken: reports whose bodies count, for those who look at what is said of the host itself.
    """

    commands: Mapping[UUID, CommandRow]
    at: datetime
    new_id: Callable[[], UUID]
    states: dict[UUID, ServerState] = field(default_factory=dict)
    changes: dict[UUID, CommandChange] = field(default_factory=dict)
    moves: list[MoveRow] = field(default_factory=list)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    packages: list[PackageOp] = field(default_factory=list)
    facts: dict[UUID, FactsRow] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    taken: list[ReadReport] = field(default_factory=list)

    def event(
        self, severity: Severity, code: str, agent: UUID, message: str, data: dict[str, Any] | None = None
    ) -> None:
        """Add a system event of ingest itself."""
        self.events.append(
            EventRow(self.new_id(), self.at, severity, COMPONENT, code, message, agent, data or {})
        )

    def take(self, read: ReadReport) -> None:
        """Add what one report changes."""
        report = read.checked.report
        if read.fault is not None:
            self.event(
                Severity.WARNING,
                "report_body_unreadable",
                report.agent,
                f"the body of a report of the kind {report.kind} could not be read: {read.fault}",
                {"report": str(report.report), "rseq": report.rseq},
            )
        if report.kind is ReportKind.COMMAND:
            self._command(read, report)
        else:
            self._common(read, report)

    def _common(self, read: ReadReport, report: Report) -> None:
        """Take what any body may say; a plan or an installation needs its command and is not among it."""
        self.taken.append(read)
        if read.inventory is not None:
            self.packages.append(InventoryOp(report.agent, read.inventory))
            if read.inventory.bad:
                self.event(
                    Severity.WARNING,
                    "inventory_rows_refused",
                    report.agent,
                    f"{len(read.inventory.bad)} rows of an inventory were left out",
                    {
                        "manager": read.inventory.manager,
                        "count": len(read.inventory.bad),
                        "rows": read.inventory.bad[:BAD_ROWS_NAMED],
                        "report": str(report.report),
                    },
                )
        if read.facts is not None:
            facts = read.facts
            self.facts[report.agent] = FactsRow(
                agent_id=report.agent,
                hostname=facts.hostname,
                os_id=facts.os_id,
                os_name=facts.os_name,
                os_version=facts.os_version,
                arch=facts.arch,
                kernel=facts.kernel,
                agent_version=facts.agent_version,
                boot_id=facts.boot_id,
                capabilities=json.dumps([one.model_dump(mode="json") for one in facts.capabilities]),
            )
        if read.event is not None:
            told = read.event
            self.events.append(
                EventRow(
                    self.new_id(),
                    self.at,
                    Severity(told.severity),
                    component_of(told.component),
                    told.code,
                    told.message,
                    report.agent,
                    dict(told.data),
                )
            )

    def _command(self, read: ReadReport, report: Report) -> None:
        command = self._own_command(report)
        if command is None or report.state is None:
            return
        state = self.states.get(command.id, ServerState(command.state))
        moves = decide(
            state, command.exp, report.state, report.result, report.started, code=self._code_of(command)
        )
        if moves.states:
            self._move(command, state, moves, report)
        elif report.state is CommandState.DONE and state in END_STATES:
            self.event(
                Severity.INFO,
                "report_after_end",
                report.agent,
                f"a report of {report.result} for a command that is {state} already",
                {"command": str(command.id), "report": str(report.report)},
            )
        self._common(read, report)
        if moves.states and moves.states[-1] in END_STATES:
            self._end(read, report, command, moves.states[-1])

    def _code_of(self, command: CommandRow) -> str | None:
        """Return the code a command has after the reports so far."""
        change = self.changes.get(command.id)
        return command.code if change is None else change.code

    def _own_command(self, report: Report) -> CommandRow | None:
        command = None if report.cmd is None else self.commands.get(report.cmd)
        data = {"command": str(report.cmd), "report": str(report.report), "state": report.state}
        if command is None or command.digest is None:
            self.event(
                Severity.CRITICAL,
                "report_without_command",
                report.agent,
                "a host reports on a command that was never signed here",
                data,
            )
        elif command.agent_id != report.agent:
            self.event(
                Severity.CRITICAL,
                "report_of_foreign_command",
                report.agent,
                "a host reports on another host's command",
                data,
            )
        elif command.digest != report.cmd_digest:
            self.event(
                Severity.CRITICAL,
                "cmd_conflict",
                report.agent,
                "a host reports on other bytes than the ones that were signed for this command",
                {**data, "digest": report.cmd_digest},
            )
        else:
            return command
        return None

    def _move(self, command: CommandRow, state: ServerState, moves: Moves, report: Report) -> None:
        self.moves.extend(
            moves_of(
                command.id,
                state,
                moves.states,
                moves.cause,
                at=self.at,
                new_id=self.new_id,
                agent_at=report.at,
                detail={"report": str(report.report), "result": moves.result},
            )
        )
        last = moves.states[-1]
        self.states[command.id] = last
        change = self.changes.setdefault(command.id, CommandChange(command.id, last.value))
        change.state = last.value
        for step in moves.states:
            if step is ServerState.DELIVERED:
                change.delivered_at = self.at
            elif step is ServerState.RUNNING:
                change.started_at = self.at
        change.agent_started_at = report.started or change.agent_started_at
        if last in END_STATES:
            change.finished_at = self.at
            change.agent_finished_at = report.finished
            change.result = None if moves.result is None else moves.result.value
            change.code = report.code
            change.plan_digest = report.plan_digest
            self.ended[command.kind, last.value] += 1

    def _end(self, read: ReadReport, report: Report, command: CommandRow, end: ServerState) -> None:
        change = self.changes[command.id]
        if read.inventory is not None:
            change.summary = json.dumps(result_text.of_inventory(read.inventory))
        if read.install is not None and command.kind in _CHANGES_PACKAGES:
            self._install(read, report, command, end, change)
        elif read.plan is not None and command.kind == CommandKind.DRY_RUN_UPDATE:
            self._plan(read, report, command, change)

    def _install(
        self, read: ReadReport, report: Report, command: CommandRow, end: ServerState, change: CommandChange
    ) -> None:
        result = read.install
        if result is None:
            return
        asked = {
            (str(one.get("name")), str(one.get("arch")))
            for one in json.loads(command.params).get("packages", ())
        }
        change.summary = json.dumps(
            result_text.of_install(result, asked, back=command.kind == CommandKind.ROLLBACK_UPDATE)
        )
        change.exit_code = result.exit_code
        change.stdout = result.stdout
        change.stderr = result.stderr
        change.duration_ms = result.duration_ms
        self.packages.append(
            InstallOp(
                report.agent,
                command.id,
                end,
                result,
                rollback=command.kind == CommandKind.ROLLBACK_UPDATE,
                agent_started_at=report.started,
                agent_finished_at=report.finished,
            )
        )

    def _plan(self, read: ReadReport, report: Report, command: CommandRow, change: CommandChange) -> None:
        if read.plan is None:
            return
        data = read.plan.plan_bytes
        try:
            plan = read.plan.plan
        except WireError as error:
            fault = str(error)
        else:
            fault = (
                "" if report.plan_digest == digest(data) else "the signed digest is not the one of the plan"
            )
        if fault:
            self.event(
                Severity.ERROR,
                "plan_refused",
                report.agent,
                f"a dry run's plan was not taken: {fault}",
                {"command": str(command.id), "report": str(report.report)},
            )
            return
        extra, removes = extra_changes(plan)
        change.summary = json.dumps(result_text.of_plan(plan, extra, removes, read.plan.download_bytes))
        self.packages.append(
            PlanOp(
                report.agent,
                PlanRow(
                    id=self.new_id(),
                    agent_id=report.agent,
                    command_id=command.id,
                    manager=plan.manager,
                    mode=plan.mode.value,
                    digest=digest(data),
                    plan=data,
                    request=json.dumps({"packages": [one.model_dump(mode="json") for one in plan.request]}),
                    item_count=len(plan.items),
                    extra_count=extra,
                    removes=removes,
                    created_at=self.at,
                ),
            )
        )
