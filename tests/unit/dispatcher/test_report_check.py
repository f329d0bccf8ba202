import gzip
import hashlib
import json
from typing import Any

import pytest

from redflag_dispatcher.errors import ReportRefusedError
from redflag_dispatcher.report_body import read_report
from redflag_dispatcher.report_check import AgentKeys, check_report
from redflag_wire.ids import new_id
from redflag_wire.limits import BODY_MAX_DECODED
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import BodyRef, CommandState, ReportKind
from redflag_wire.report_body_codec import seal_body
from redflag_wire.report_framing import frame_reports
from tests.unit.dispatcher.signers import CLOCK, FLEET, Reporter, make_key, some_digest

HOST = Reporter()
KEYS = AgentKeys(HOST.agent, HOST.agent_key.public, HOST.receipt_key.public)
RECEIPT: dict[str, Any] = {
    "kind": ReportKind.COMMAND,
    "cmd": new_id(CLOCK),
    "cmd_digest": some_digest("command"),
    "state": CommandState.RECEIVED,
}


def code_of(frame: bytes, keys: AgentKeys | None = KEYS) -> str:
    with pytest.raises(ReportRefusedError) as caught:
        check_report(frame, keys, fleet=FLEET)
    return caught.value.code


def test_report_of_the_agent_key_passes() -> None:
    report = HOST.report()
    checked = check_report(HOST.frame(report), KEYS, fleet=FLEET)
    assert checked.report == report
    assert not checked.by_receipt_key
    assert checked.body is None


def test_receipt_of_the_receipt_key_passes() -> None:
    assert check_report(HOST.frame(HOST.report(**RECEIPT)), KEYS, fleet=FLEET).by_receipt_key


def test_akt_names_the_agent_key_whichever_key_signs() -> None:
    check_report(HOST.frame(HOST.report(**RECEIPT)), KEYS, fleet=FLEET)
    receipt = HOST.receipt_key.public.thumbprint
    assert code_of(HOST.frame(HOST.report(**RECEIPT, akt=receipt))) == "akt"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "frame"),
        (b"\x00\x00\x00\x05ab", "frame"),
        (frame_reports([(b"{}", b"")] * 2), "frame"),
        (frame_reports([(b"{}", b"")]), "envelope"),
        (HOST.frame(HOST.report(), key=make_key()), "signature"),
        (HOST.frame(HOST.report(), payload_type=PayloadType.COMMAND), "signature"),
        (HOST.frame(HOST.report(fleet=str(new_id(CLOCK)))), "fleet"),
        (HOST.frame(HOST.report(agent=new_id(CLOCK))), "agent"),
        (HOST.frame(HOST.report(akt=make_key().public.thumbprint)), "akt"),
        (HOST.frame(HOST.report(**RECEIPT), key=HOST.agent_key), "key_use"),
        (HOST.frame(HOST.report(), key=HOST.receipt_key), "key_use"),
        (HOST.frame(HOST.report(), sealed=b"x"), "body"),
    ],
    ids=[
        "empty", "cut", "two", "envelope", "key", "type", "fleet", "agent", "akt", "agent-key", "receipt-key", "body",
    ],
)  # fmt: skip
def test_each_rung_refuses_with_its_own_code(frame: bytes, code: str) -> None:
    assert code_of(frame) == code


def test_unknown_agent_is_refused_before_any_signature() -> None:
    assert code_of(HOST.frame(HOST.report()), None) == "agent_unknown"


def test_body_that_is_not_the_signed_one_is_refused() -> None:
    ref, sealed = seal_body(b'{"type":"event"}')
    frame = HOST.frame(HOST.report(body=ref), sealed=sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert code_of(frame) == "body"
    assert code_of(HOST.frame(HOST.report(body=ref), sealed=b"")) == "body"


def test_bomb_is_taken_without_its_body() -> None:
    bomb = gzip.compress(b"0" * (BODY_MAX_DECODED + 1))
    ref = BodyRef(sha256=hashlib.sha256(bomb).hexdigest(), length=len(bomb), encoding="gzip")
    checked = check_report(HOST.frame(HOST.report(body=ref), sealed=bomb), KEYS, fleet=FLEET)
    assert checked.body is None
    assert checked.body_fault is not None
    assert "decoded_too_large" in checked.body_fault
    assert read_report(checked).fault == checked.body_fault


def with_body(body: dict[str, Any]) -> Any:
    ref, sealed = seal_body(json.dumps(body).encode())
    frame = HOST.frame(HOST.report(kind=ReportKind.INVENTORY, body=ref), sealed=sealed)
    return read_report(check_report(frame, KEYS, fleet=FLEET))


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "manager": "apt", "name": name, "arch": "amd64", "installed": "1", "candidate": "2", "origin": "", "suite": "",
        "security": True, "state": "available", "size": None, **changes,
    }  # fmt: skip


def test_bad_rows_of_an_inventory_stand_apart() -> None:
    read = with_body(
        {
            "type": "inventory",
            "manager": "apt",
            "scanned_at": "2026-11-21T08:00:00.000Z",
            "source_age_s": None,
            "reboot_required": True,
            "updates": [row("a"), row("b", candidate=7), row("a"), row("c", manager="snap"), row("d")],
            "problems": ["one"],
        }
    )
    assert read.fault is None
    assert [listed.name for listed in read.inventory.rows] == ["a", "d"]
    assert len(read.inventory.bad) == 3
    assert read.inventory.reboot_required


@pytest.mark.parametrize("body", [{"type": "nothing"}, {}, {"type": "inventory", "manager": "apt"}])
def test_body_that_makes_no_sense_is_a_fault_not_an_error(body: dict[str, Any]) -> None:
    assert with_body(body).fault is not None
