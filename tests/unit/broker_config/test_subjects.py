from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_broker_config import subjects
from redflag_broker_config.subjects import SubjectError

AGENT = UUID("0199c0de-0000-7000-8000-000000000001")


@given(st.uuids())
def test_command_subject_and_agent_are_each_others_inverse(agent: UUID) -> None:
    assert subjects.agent_of(subjects.command_subject(agent)) == agent


@given(st.uuids())
def test_shard_is_crc32_of_the_sixteen_bytes(agent: UUID) -> None:
    assert subjects.shard_of(agent) == crc32(agent.bytes) % 16


def test_shard_of_a_known_agent_never_changes() -> None:
    assert subjects.command_subject(AGENT) == "rf.cmd.14.0199c0de000070008000000000000001"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "rf.cmd.14",
        "rf.cmd.13.0199c0de000070008000000000000001",
        "rf.cmd.14.0199C0DE000070008000000000000001",
        "rf.cmd.14.0199c0de-0000-7000-8000-000000000001",
        "rf.cmd.14.{0199c0de00007000800000000000000}",
        "rf.cmd.14.x.0199c0de000070008000000000000001",
        "rf.up.14.0199c0de000070008000000000000001",
        "rf.cmd.14.\u0660199c0de000070008000000000000001",
    ],
)
def test_agent_of_refuses_what_is_no_command_subject(subject: str) -> None:
    with pytest.raises(SubjectError):
        subjects.agent_of(subject)


def test_manifest_keys_carry_their_version() -> None:
    assert subjects.manifest_version_of(subjects.manifest_key(12)) == 12


@pytest.mark.parametrize("key", ["manifest.", "manifest.01", "12", "manifest.x", "manifest.²"])
def test_manifest_version_refuses_other_keys(key: str) -> None:
    with pytest.raises(SubjectError):
        subjects.manifest_version_of(key)


def test_status_keys_carry_their_agent() -> None:
    assert subjects.agent_of_status_key(subjects.status_key(AGENT)) == AGENT
    with pytest.raises(SubjectError):
        subjects.agent_of_status_key(str(AGENT))


def test_up_subject_refuses_an_unknown_kind() -> None:
    assert subjects.up_subject("report", 3) == "rf.up.report.3"
    with pytest.raises(ValueError, match="other"):
        subjects.up_subject("other", 3)
