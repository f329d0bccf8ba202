from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt_install import arguments, conffiles_kept
from redflag_scanner_agent.packages.apt_run import COMMON_OPTIONS, INSTALL_OPTIONS
from redflag_scanner_agent.packages.errors import NameRefusedError
from redflag_wire.report_bodies import Plan, PlanItem

UPGRADE = PlanItem(name="g++", arch="amd64", old="4:1", new="4:2", origin="", action="upgrade")
NEW = PlanItem(name="newdep", arch="all", old=None, new="1.0", origin="", action="install")
REMOVAL = PlanItem(name="oldlib", arch="i386", old="0.9", new=None, origin="", action="remove")
DOWNGRADE = PlanItem(name="tool", arch="all", old="2", new="1", origin="", action="downgrade")


def plan(*items: PlanItem) -> Plan:
    return Plan(manager="apt", request=[], items=list(items))


def test_arguments_name_every_item_with_its_version_and_forbid_removals() -> None:
    assert arguments(plan(UPGRADE, NEW), {}) == [
        "install",
        "--no-remove",
        "--",
        "g++:amd64=4:2",
        "newdep:all=1.0",
    ]


def test_arguments_allow_removals_only_when_planned() -> None:
    assert arguments(plan(UPGRADE, REMOVAL), {}) == ["install", "--", "g++:amd64=4:2", "oldlib:i386-"]


def test_arguments_allow_downgrades_only_when_planned() -> None:
    assert "--allow-downgrades" not in arguments(plan(UPGRADE), {})
    assert arguments(plan(DOWNGRADE), {}) == [
        "install",
        "--no-remove",
        "--allow-downgrades",
        "--",
        "tool:all=1",
    ]


def test_arguments_take_a_file_only_for_its_own_item() -> None:
    file = Path("/var/cache/apt/archives/tool_1_all.deb")
    assert arguments(plan(DOWNGRADE, UPGRADE), {("tool", "all"): file}) == [
        "install",
        "--no-remove",
        "--allow-downgrades",
        "--",
        "g++:amd64=4:2",
        str(file),
    ]


@pytest.mark.parametrize(
    "item",
    [
        UPGRADE.model_copy(update={"name": "sed-"}),
        UPGRADE.model_copy(update={"name": "-oX=y"}),
        UPGRADE.model_copy(update={"new": "1.0-"}),
        REMOVAL.model_copy(update={"name": "old*"}),
        REMOVAL.model_copy(update={"arch": "i386\n"}),
    ],
)
def test_arguments_refuse_a_plan_with_hostile_items(item: PlanItem) -> None:
    with pytest.raises(NameRefusedError):
        arguments(plan(item), {})


def test_options_stop_patterns_questions_and_pseudo_terminals() -> None:
    assert "APT::Cmd::Pattern-Only=true" in COMMON_OPTIONS
    assert "Dpkg::Use-Pty=0" in COMMON_OPTIONS
    assert {"-y", "Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold"} <= set(
        INSTALL_OPTIONS
    )
    assert not [option for option in (*COMMON_OPTIONS, *INSTALL_OPTIONS) if "allow" in option.lower()]


def test_conffiles_kept_are_read_from_both_of_dpkgs_phrases() -> None:
    text = (
        "Configuration file '/etc/one.conf' (actually '/srv/root/etc/one.conf')\n"
        " ==> Modified (by you or by a script) since installation.\n"
        " ==> Package distributor has shipped an updated version.\n"
        " ==> Keeping old config file as default.\n"
        "Setting up x\n"
        "\nConfiguration file '/etc/two.conf'\n"
        " ==> File on system created by you or by a script.\n"
        " ==> File also in package provided by package maintainer.\n"
        " ==> Using current old file as you requested.\n"
        "\nConfiguration file '/etc/three.conf'\n"
        " ==> Modified (by you or by a script) since installation.\n"
        " ==> Using new file as you requested.\n"
    )
    assert conffiles_kept(text) == ["/etc/one.conf", "/etc/two.conf"]
