"""What PostgreSQL really does for a question: the plans of the very statements a call of the store runs."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

LARGE = (
    "package_state",
    "command",
    "system_event",
    "update_history",
    "update_event",
    "update_plan",
    "report_inbox",
)
"""Tables that grow with hosts, updates or time; partitions begin with the same words."""

Work = Callable[[AsyncSession], Awaitable[object]]
Sessions = async_sessionmaker[AsyncSession]


def scans(plan: dict[str, Any], much: int) -> list[str]:
    """The large tables that a plan reads from one end to the other; `much`: more rows than a page ever needs."""
    found = []
    name = str(plan.get("Relation Name", ""))
    whole = plan["Node Type"] == "Seq Scan" or (
        plan["Node Type"] in {"Index Only Scan", "Index Scan"}
        and "Index Cond" not in plan
        and plan["rows"] > much
    )
    if whole and name.startswith(LARGE) and plan["rows"] > 0:
        found.append(f"{plan['Node Type']} of {name}: {plan['rows']} rows")
    for part in plan.get("Plans", ()):
        found.extend(scans(part, much))
    return found


def with_rows(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with what each node really read, rows filtered away included."""
    plan["rows"] = plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0)
    for part in plan.get("Plans", ()):
        with_rows(part)
    return plan


async def plans_of(make: Sessions, work: Work) -> list[dict[str, Any]]:
    """The plan of each statement that `work` runs, with what it really read."""
    asked: list[tuple[str, Any]] = []
    async with make() as session, session.begin():
        connection = await session.connection()

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            asked.append((statement, parameters))

        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await work(session)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        found = []
        for statement, parameters in asked:
            plan = await connection.exec_driver_sql(
                f"EXPLAIN (FORMAT JSON, ANALYZE, TIMING OFF) {statement}", parameters
            )
            value = plan.scalar_one()
            found.append(with_rows((json.loads(value) if isinstance(value, str) else value)[0]["Plan"]))
        return found


def reads(plan: dict[str, Any]) -> Iterator[str]:
    """How each table of a plan is reached, in words: the index, the table, the rows read."""
    if "Relation Name" in plan:
        by = f" by {plan['Index Name']}" if "Index Name" in plan else ""
        loops = f" x {plan['Actual Loops']}" if plan.get("Actual Loops", 1) > 1 else ""
        yield f"{plan['Node Type']} of {plan['Relation Name']}{by}: {plan['rows']:.0f} rows{loops}"
    for part in plan.get("Plans", ()):
        yield from reads(part)
