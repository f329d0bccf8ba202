"""What a job asks of each host."""

import json
from typing import Any
from uuid import UUID

import pytest

from redflag_dashboard.job_rules import ask_all, ask_for_plans, targets_of_intents
from redflag_dashboard.models.jobs import JobRequest, PlanJobParams
from redflag_store.queries.job_selection import ApprovedPackage, SelectedHost
from redflag_wire.command_params import CommandKind, PlanMode, parse_params

APT = {"manager": "apt", "can_install": True}
DNF = {"manager": "dnf", "can_install": True}


def a_host(number: int, *capabilities: dict[str, Any], version: str | None = "1.0.0") -> SelectedHost:
    return SelectedHost(UUID(int=number), f"host-{number}", "active", version, list(capabilities))


def package(name: str, version: str = "2.0", manager: str = "apt") -> ApprovedPackage:
    return ApprovedPackage(manager, name, "amd64", version)


def codes(asked: Any) -> dict[str, str]:
    return {one.host.hostname: one.code for one in asked.left_out}


def test_hosts_asked_for_the_same_are_one_group() -> None:
    params = {"subsystem": "apt", "refresh": True, "full": False}
    hosts = [a_host(1, APT), a_host(2), a_host(3, DNF), a_host(4, APT, version="0.1.0")]
    asked = ask_all(hosts, CommandKind.SCAN, params, "0.5.0")
    assert asked.groups == {json.dumps(params, sort_keys=True): [UUID(int=1), UUID(int=2)]}
    assert codes(asked) == {"host-3": "manager_unknown", "host-4": "agent_too_old"}
    everything = ask_all(hosts, CommandKind.SCAN, {"subsystem": "system"}, None)
    assert everything.count == 4


def test_plans_are_of_what_is_approved_on_each_host() -> None:
    hosts = [a_host(number, APT) for number in range(1, 6)]
    approved = {
        UUID(int=1): [package("a")],
        UUID(int=2): [package("a")],
        UUID(int=3): [package("a", "3.0")],
        UUID(int=4): [package("a"), package("b", manager="dnf")],
    }
    asked = ask_for_plans(hosts, approved, mode=PlanMode.PACKAGES, manager=None, minimum=None)
    assert sorted(asked.groups.values()) == [[UUID(int=1), UUID(int=2)], [UUID(int=3)]]
    assert codes(asked) == {"host-4": "manager_ambiguous", "host-5": "nothing_to_do"}
    for written in asked.groups:
        parse_params(CommandKind.DRY_RUN_UPDATE, json.loads(written))
    named = ask_for_plans(hosts, approved, mode=PlanMode.PACKAGES, manager="dnf", minimum=None)
    assert list(named.groups.values()) == [[UUID(int=4)]]


def test_what_hosts_find_themselves_names_no_packages() -> None:
    hosts = [a_host(1, APT), a_host(2, APT, DNF), a_host(3)]
    asked = ask_for_plans(hosts, {}, mode=PlanMode.SECURITY, manager=None, minimum=None)
    (written,) = asked.groups
    assert json.loads(written) == {"manager": "apt", "mode": "security", "packages": []}
    parse_params(CommandKind.DRY_RUN_UPDATE, json.loads(written))
    assert codes(asked) == {"host-2": "manager_ambiguous", "host-3": "manager_unknown"}
    too_many = {UUID(int=1): [package(f"p{n}") for n in range(4001)]}
    over = ask_for_plans(hosts[:1], too_many, mode=PlanMode.PACKAGES, manager=None, minimum=None)
    assert codes(over) == {"host-1": "too_many_packages"}


def test_intents_take_as_many_targets_as_fit() -> None:
    targets = [UUID(int=number) for number in range(9000)]
    parts = list(targets_of_intents("{}", targets, payload_max=188_416))
    assert [len(part) for part in parts] == [4000, 4000, 1000]
    assert [one for part in parts for one in part] == targets
    large = list(targets_of_intents("x" * 150_000, targets[:1000], payload_max=188_416))
    assert max(len(part) for part in large) == (188_416 - 4096 - 150_000) // 40
    with pytest.raises(ValueError, match="do not fit"):
        list(targets_of_intents("x" * 188_000, targets, payload_max=188_416))


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "scan"},
        {"kind": "scan", "all": True, "hosts": ["a"]},
        {"kind": "scan", "filter": {}},
        {"kind": "scan", "hosts": []},
        {"kind": "install_updates", "all": True},
        {"kind": "cancel", "all": True},
        {"kind": "scan", "all": True, "more": 1},
        {"kind": "scan", "filter": {"q": "a", "sql": "b"}},
    ],
)
def test_a_job_says_which_hosts_in_one_way(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        JobRequest.model_validate_json(json.dumps(body), strict=True)


def test_a_rollback_is_no_job() -> None:
    with pytest.raises(ValueError, match="host by host"):
        PlanJobParams.model_validate_json('{"mode": "rollback"}', strict=True)
