from typing import Any
from uuid import UUID

import pytest

from redflag_dispatcher.inventory_rules import decide
from redflag_dispatcher.package_results import after_end, after_install, after_plan, extra_changes
from redflag_dispatcher.package_writes import InventoryOp, PackageOp, PlanOp, rounds
from redflag_dispatcher.report_body import ListedInventory
from redflag_dispatcher.result_text import of_install
from redflag_store.command_states import ServerState
from redflag_store.queries.inventory import Difference, Listed, Stored
from redflag_store.queries.package_results import CommandPackage, PlanRow
from redflag_wire.command_params import PackageRef
from redflag_wire.ids import new_id
from redflag_wire.plan import Plan, PlanDrift, PlanItem
from redflag_wire.report_bodies import InstalledItem, InstallResult
from tests.unit.dispatcher.signers import CLOCK, NOW

AGENT = new_id(CLOCK)
COMMAND = new_id(CLOCK)
KEY = (AGENT, "apt", "openssl", "amd64")


def listed(candidate: str = "2", availability: str = "available", installed: str = "1") -> Listed:
    return Listed(*KEY, installed, candidate, "Debian", "bookworm", False, availability, 10)


def stored(state: str, candidate: str = "2", **changes: Any) -> Stored:
    values: dict[str, Any] = {
        "installed": "1",
        "candidate": candidate,
        "availability": "available",
        "state": state,
        "approved_version": None,
        "command_id": None,
        **changes,
    }
    return Stored(**values)


def outcome(new: Listed | None, old: Stored | None) -> tuple[str | None, str | None, str | None]:
    """Return state, approved version and event kind after a difference."""
    decision = decide(Difference(KEY, new, old), at=NOW, new_id=lambda: new_id(CLOCK))
    kind = None if decision.event is None else decision.event.kind
    if decision.row is None:
        return None, None, kind
    return decision.row.state, decision.row.approved_version, kind


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (listed(), None, ("pending", None, "discovered")),
        (listed(availability="held"), None, ("held", None, "discovered")),
        (None, stored("pending"), (None, None, "gone")),
        (None, stored("installing"), (None, None, "gone")),
        (listed(), stored("updated"), ("pending", None, "discovered")),
        (listed("3"), stored("approved", approved_version="2"), ("pending", None, "changed")),
        (listed("3"), stored("rejected"), ("pending", None, "changed")),
        (listed("3"), stored("failed"), ("pending", None, "changed")),
        (listed("3"), stored("checking_dependencies", command_id=COMMAND), ("pending", None, "changed")),
        (listed("3"), stored("ignored"), ("ignored", None, "changed")),
        (listed("3"), stored("installing", command_id=COMMAND), ("installing", None, "changed")),
        (listed(availability="held"), stored("pending"), ("held", None, "changed")),
        (listed(), stored("held", availability="held"), ("pending", None, "changed")),
        (listed(installed="1.5"), stored("approved", approved_version="2"), ("approved", "2", "changed")),
        (listed(), stored("approved", approved_version="2"), ("approved", "2", None)),
        (listed(), stored("failed"), ("failed", None, None)),
    ],
)
def test_inventory_decides_each_difference(
    new: Listed | None, old: Stored | None, expected: tuple[str | None, str | None, str | None]
) -> None:
    assert outcome(new, old) == expected


def package(state: str, approved: str | None = "2", name: str = "openssl") -> CommandPackage:
    return CommandPackage((AGENT, "apt", name, "amd64"), state, "2", approved, COMMAND)


@pytest.mark.parametrize(
    ("state", "approved", "end", "expected"),
    [
        ("installing", "2", ServerState.FAILED, "failed"),
        ("installing", "2", ServerState.UNKNOWN, "failed"),
        ("installing", "2", ServerState.REJECTED, "approved"),
        ("installing", "2", ServerState.EXPIRED, "approved"),
        ("installing", None, ServerState.EXPIRED, "pending"),
        ("installing", "1", ServerState.CANCELLED, "pending"),
        ("checking_dependencies", "2", ServerState.FAILED, "approved"),
        ("checking_dependencies", None, ServerState.EXPIRED, "pending"),
    ],
)
def test_packages_leave_a_command_that_ended(
    state: str, approved: str | None, end: ServerState, expected: str
) -> None:
    assert [change[1] for change in after_end([package(state, approved)], end)] == [expected]


def test_packages_that_wait_for_nothing_are_left_alone() -> None:
    assert after_end([package("updated"), package("pending"), package("approved")], ServerState.FAILED) == []


def plan(*items: tuple[str, str | None, str | None, str]) -> Plan:
    return Plan(
        manager="apt",
        request=[PackageRef(name="openssl", arch="amd64", version="2")],
        items=[
            PlanItem(name=name, arch="amd64", old=old, new=new, origin="", action=action)  # type: ignore[arg-type]
            for name, old, new, action in items
        ],
    )


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("openssl", "1", "2", "upgrade")], (0, 0)),
        ([("openssl", "1", "3", "upgrade")], (1, 0)),
        ([("openssl", "1", "2", "upgrade"), ("libfoo", None, "1", "install")], (1, 0)),
        ([("openssl", "1", "2", "upgrade"), ("libold", "1", None, "remove")], (1, 1)),
    ],
)
def test_changes_nobody_asked_for_are_counted(items: Any, expected: tuple[int, int]) -> None:
    assert extra_changes(plan(*items)) == expected


def test_plan_with_more_than_was_asked_wants_a_word() -> None:
    waiting = [package("checking_dependencies")]
    assert [change[1] for change in after_plan(waiting, 1)] == ["pending_dependencies"]
    assert [change[1] for change in after_plan(waiting, 0)] == ["approved"]


def result(*items: InstalledItem, drift: PlanDrift | None = None) -> InstallResult:
    return InstallResult(
        manager="apt", items=list(items), exit_code=0, stdout="", stderr="", duration_ms=8123, drift=drift
    )


def installed(name: str, old: str | None = "1", new: str | None = "2", *, ok: bool = True) -> InstalledItem:
    return InstalledItem(name=name, arch="amd64", old=old, new=new, ok=ok)


def test_install_ends_each_package_by_its_own_result() -> None:
    waiting = [package("installing"), package("installing", name="left-out")]
    body = result(installed("openssl"), installed("libfoo", ok=False))
    changes = {
        key[2]: (state, version)
        for key, state, version in after_install(AGENT, waiting, body, ServerState.FAILED)
    }
    assert changes == {"openssl": ("updated", "2"), "libfoo": ("failed", None), "left-out": ("failed", None)}


def test_drift_gives_the_packages_back() -> None:
    changes = after_install(AGENT, [package("installing")], result(drift=PlanDrift()), ServerState.FAILED)
    assert [change[1] for change in changes] == ["approved"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (result(installed("openssl")), "Upgraded openssl 1 -> 2, 8 s"),
        (
            result(installed("openssl"), installed("libfoo", old=None)),
            "Upgraded openssl 1 -> 2 and 1 dependency, 8 s",
        ),
        (
            result(installed("openssl"), installed("a"), installed("b")),
            "Upgraded openssl 1 -> 2 and 2 dependencies, 8 s",
        ),
        (
            result(installed("openssl"), installed("a", ok=False)),
            "Upgraded openssl 1 -> 2; 1 failed: a, 8 s",
        ),
        (result(installed("openssl", ok=False)), "1 package failed: openssl"),
        (result(), "Nothing to do"),
        (result(drift=PlanDrift()), "Nothing done: the plan is no longer the approved one"),
        (result(installed("x", old=None)), "Installed x 2, 8 s"),
        (result(installed("x", new=None)), "Removed x 1, 8 s"),
        (
            result(*(installed(name) for name in "abcde")),
            "Upgraded a 1 -> 2, upgraded b 1 -> 2, upgraded c 1 -> 2 and 2 more, 8 s",
        ),
    ],
)
def test_installation_is_told_in_one_line(body: InstallResult, text: str) -> None:
    assert of_install(body, {("openssl", "amd64")})["text"] == text


def test_a_rollback_is_not_called_an_upgrade() -> None:
    body = result(installed("openssl"))
    told = of_install(body, {("openssl", "amd64")}, back=True)
    assert told["text"] == "Took back openssl 1 -> 2, 8 s"


def test_what_lies_beside_an_installation_is_told_and_kept() -> None:
    body = result(installed("openssl")).model_copy(
        update={
            "conffiles_kept": [f"/etc/{name}.conf" for name in "abcd"],
            "services_to_restart": ["ssh.service"],
            "repaired": "dpkg had been interrupted",
        }
    )
    told = of_install(body, {("openssl", "amd64")})
    assert told["text"] == (
        "Upgraded openssl 1 -> 2, 8 s; the package manager's database was put in order first; "
        "kept as it was on the host: /etc/a.conf, /etc/b.conf, /etc/c.conf and 1 more; to be restarted: ssh.service"
    )
    assert (told["services_to_restart"], told["repaired"]) == (["ssh.service"], "dpkg had been interrupted")


def op(agent: UUID, manager: str) -> InventoryOp:
    return InventoryOp(agent, ListedInventory(manager, None, False, [], [], []))


def test_rounds_keep_each_hosts_order_and_drop_what_a_newer_inventory_replaces() -> None:
    one, two = new_id(CLOCK), new_id(CLOCK)
    old, new, snap = op(one, "apt"), op(one, "apt"), op(one, "snap")
    row = PlanRow(
        id=COMMAND, agent_id=one, command_id=COMMAND, manager="apt", mode="packages", digest="", plan=b"",
        request="{}", item_count=0, extra_count=0, removes=0, created_at=CLOCK.now(),
    )  # fmt: skip
    plan = PlanOp(one, row)
    other = op(two, "apt")
    ops: list[PackageOp] = [old, new, plan, snap, other]
    assert rounds(ops) == [[new, other], [plan], [snap]]
