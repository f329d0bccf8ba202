"""Bodies packed, framed and decoded: bounded, whatever a host sends."""

import gzip
import json
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import base64_strict, limits
from redflag_wire.errors import BodyRefusedError, FramingRefusedError, SchemaRefusedError
from redflag_wire.report import BodyRef
from redflag_wire.report_bodies import (
    Body,
    Facts,
    HostEvent,
    InstalledItem,
    InstallResult,
    Inventory,
    ManagerCapability,
    Plan,
    PlanDrift,
    PlanItem,
    PlanResult,
    UpdateItem,
    parse_body,
    split_inventory,
)
from redflag_wire.report_body_codec import open_body, seal_body
from redflag_wire.report_framing import frame_reports, split_reports
from tests.unit.wire.samples import NOW, STEADY, report

U32 = struct.Struct(">I").pack
ITEM = PlanItem(name="sed", arch="amd64", old="4.8-1", new="4.9-1", origin="Debian", action="upgrade")
PLAN = Plan(manager="apt", request=[], items=[ITEM])


def ref_of(data: bytes, **changes: Any) -> BodyRef:
    good = seal_body(data, "identity")[0].model_dump()
    return BodyRef(**{**good, "encoding": "gzip", **changes})


def update(name: str = "sed", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "manager": "apt",
        "name": name,
        "arch": "amd64",
        "installed": "4.8-1",
        "candidate": "4.9-1",
        "origin": "Debian",
        "suite": "bookworm",
        "security": False,
        "state": "available",
        "size": 1000,
    }
    return {**row, **changes}


def inventory(*rows: Any, **changes: Any) -> bytes:
    head: dict[str, Any] = {
        "type": "inventory",
        "manager": "apt",
        "scanned_at": "2026-01-01T12:00:00.000Z",
        "source_age_s": 60,
        "reboot_required": False,
        "updates": list(rows),
        "problems": [],
    }
    return json.dumps({**head, **changes}).encode()


# --- packing


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@given(data=st.binary(min_size=1, max_size=2000))
@STEADY
def test_body_round_trips(encoding: Any, data: bytes) -> None:
    ref, sealed = seal_body(data, encoding)
    assert (ref.length, ref.encoding) == (len(sealed), encoding)
    assert open_body(sealed, ref) == data
    assert seal_body(data, encoding) == (ref, sealed)


def test_gzip_body_is_plain_gzip() -> None:
    _, sealed = seal_body(b"x" * 1000)
    assert gzip.decompress(sealed) == b"x" * 1000


def test_bomb_is_refused_and_memory_stays_bounded() -> None:
    bomb = gzip.compress(bytes(512 * 1024 * 1024), compresslevel=9)
    assert len(bomb) < limits.BODY_MAX_COMPRESSED
    ref = ref_of(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(BodyRefusedError) as refused:
            open_body(bomb, ref)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.code == "decoded_too_large"
    assert peak < 3 * limits.BODY_MAX_DECODED


def test_largest_body_is_opened() -> None:
    data = bytes(limits.BODY_MAX_DECODED)
    ref, sealed = seal_body(data)
    assert open_body(sealed, ref) == data
    with pytest.raises(BodyRefusedError, match="decoded_too_large"):
        seal_body(data + b"x")
    over = gzip.compress(data + b"x")
    with pytest.raises(BodyRefusedError, match="decoded_too_large"):
        open_body(over, ref_of(over))


GZIP = gzip.compress(b"body " * 100, mtime=0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GZIP[:-1], "gzip"),
        (GZIP[:10], "gzip"),
        (GZIP + GZIP, "trailing"),
        (GZIP + b"x", "trailing"),
        (b"body", "gzip"),
        (zlib.compress(b"body"), "gzip"),
        (GZIP[:-8] + bytes(8), "gzip"),
        (GZIP[:20] + bytes([GZIP[20] ^ 1]) + GZIP[21:], "gzip"),
    ],
    ids=range(8),
)
def test_corrupt_gzip_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(BodyRefusedError) as refused:
        open_body(data, ref_of(data))
    assert refused.value.code == code


def test_only_the_signed_bytes_are_opened() -> None:
    ref, sealed = seal_body(b"body")
    with pytest.raises(BodyRefusedError, match="length"):
        open_body(sealed + b"x", ref)
    with pytest.raises(BodyRefusedError, match="digest"):
        open_body(sealed[:-1] + bytes([sealed[-1] ^ 1]), ref)
    # The digest is compared first: unsigned bytes never reach the decompressor.
    with pytest.raises(BodyRefusedError, match="digest"):
        open_body(b"x" * len(sealed), ref)


def test_body_that_is_empty_or_does_not_shrink_enough_is_not_sealed() -> None:
    with pytest.raises(BodyRefusedError, match="empty"):
        seal_body(b"")
    with pytest.raises(BodyRefusedError, match="too_large"):
        seal_body(bytes(limits.BODY_MAX_COMPRESSED + 1), "identity")


@pytest.mark.parametrize(
    "body",
    [
        {"sha256": "AB" * 32, "length": 1, "encoding": "gzip"},
        {"sha256": "ab" * 32, "length": 0, "encoding": "gzip"},
        {"sha256": "ab" * 32, "length": limits.BODY_MAX_COMPRESSED + 1, "encoding": "gzip"},
        {"sha256": "ab" * 32, "length": 1, "encoding": "br"},
        {"sha256": "ab" * 32, "length": 1},
    ],
)
def test_malformed_body_reference_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError):
        report(body=body)


# --- framing


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.binary(max_size=50)), min_size=1, max_size=8)
)
@STEADY
def test_frames_round_trip_and_every_cut_is_refused(pairs: list[tuple[bytes, bytes]]) -> None:
    data = frame_reports(pairs)
    assert split_reports(data) == pairs
    whole = {sum(8 + len(one) + len(two) for one, two in pairs[:count]) for count in range(1, len(pairs) + 1)}
    for end in range(len(data)):
        if end not in whole:
            with pytest.raises(FramingRefusedError):
                split_reports(data[:end])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\0\0\0", "truncated"),
        (U32(5) + b"four", "truncated"),
        (U32(4) + b"four", "truncated"),
        (U32(4) + b"four" + U32(1), "truncated"),
        (U32(2**32 - 1) + b"x", "truncated"),
        (U32(4) + b"four" + U32(2**32 - 1), "truncated"),
        (U32(0) + U32(0), "envelope_size"),
        (U32(4) + b"four" + U32(0) + b"x", "truncated"),
        (U32(limits.ENVELOPE_MAX_BYTES + 1) + bytes(limits.ENVELOPE_MAX_BYTES + 1) + U32(0), "envelope_size"),
        (
            U32(1) + b"x" + U32(limits.BODY_MAX_COMPRESSED + 1) + bytes(limits.BODY_MAX_COMPRESSED + 1),
            "body_size",
        ),
        ((U32(1) + b"x" + U32(0)) * (limits.REPORTS_MAX_COUNT + 1), "too_many_reports"),
        (bytes(limits.REPORTS_MAX_BYTES + 1), "too_large"),
    ],
    ids=range(13),
)
def test_malformed_batch_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(FramingRefusedError) as refused:
        split_reports(data)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(b"", b"")],
        [(b"x", bytes(limits.BODY_MAX_COMPRESSED + 1))],
        [(b"x", bytes(limits.BODY_MAX_COMPRESSED))] * 2,
        [(b"x", b"")] * (limits.REPORTS_MAX_COUNT + 1),
    ],
    ids=range(5),
)
def test_a_batch_nobody_would_take_is_not_made(pairs: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(FramingRefusedError):
        frame_reports(pairs)


# --- decoded bodies

BODIES: list[Body] = [
    Facts(
        hostname="web-1",
        machine_id="ab" * 32,
        os_id="debian",
        os_name="Debian GNU/Linux",
        os_version="12",
        arch="amd64",
        kernel="6.1.0",
        agent_version="0.1.0",
        boot_id="b",
        capabilities=[ManagerCapability(manager="apt", can_install=False, reason="not root")],
    ),
    Inventory.from_object(json.loads(inventory(update(), update("vim", installed=None, size=None)))),
    PlanResult(plan_b64=base64_strict.encode(PLAN.to_bytes()), download_bytes=None, problems=["warned"]),
    InstallResult(
        manager="apt",
        items=[InstalledItem(name="sed", arch="amd64", old="4.8-1", new="4.9-1", ok=True)],
        exit_code=0,
        stdout="Setting up sed ...\n",
        stderr="",
        duration_ms=1200,
        drift=PlanDrift(changed=[ITEM]),
        conffiles_kept=["/etc/x.conf"],
    ),
    HostEvent(code="scan_failed", severity="warning", component="helper", message="no", data={"n": 1}),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda one: one.type)
def test_every_body_is_read_back_as_its_type(body: Body) -> None:
    assert parse_body(body.to_bytes()) == body


@pytest.mark.parametrize("body", BODIES, ids=lambda one: one.type)
def test_body_with_an_unknown_or_wrong_field_is_refused(body: Body) -> None:
    value = json.loads(body.to_bytes())
    for wrong in (
        {**value, "extra": 1},
        {**value, "type": "other"},
        {key: value[key] for key in value if key != "type"},
    ):
        with pytest.raises(SchemaRefusedError):
            parse_body(json.dumps(wrong).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"type":[]}', b'{"type":null}', b'{"type":"facts","type":"facts"}']
)
def test_no_body_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaRefusedError):
        parse_body(data)


def test_event_with_a_nul_in_its_data_is_refused() -> None:
    event = {"type": "event", "code": "x", "severity": "info", "component": "helper", "message": "m"}
    parse_body(json.dumps({**event, "data": {"a": "b"}}).encode())
    for data in ({"a": "b\0"}, {"a\0": 1}, {"a": ["\0"]}):
        with pytest.raises(SchemaRefusedError):
            parse_body(json.dumps({**event, "data": data}).encode())


BAD_ROWS: list[Any] = [
    None,
    1,
    "row",
    [],
    {},
    update(name=""),
    update(name="a\0b"),
    update(name="a\nb"),
    update(candidate=None),
    update(candidate=4),
    update(security=1),
    update(security="true"),
    update(state="unknown"),
    update(size=-1),
    update(size=True),
    update(arch="x" * 257),
    update(extra=1),
]


def test_bad_rows_are_left_out_and_named() -> None:
    rows = [update("first"), *BAD_ROWS, update("last")]
    read, bad = split_inventory(inventory(*rows))
    assert [one.name for one in read.updates] == ["first", "last"]
    assert [one.index for one in bad] == list(range(1, 1 + len(BAD_ROWS)))
    assert all(one.reason for one in bad)
    with pytest.raises(SchemaRefusedError):
        parse_body(inventory(*rows))


def test_four_thousand_rows_are_read() -> None:
    read, bad = split_inventory(inventory(*(update(f"p{number}") for number in range(4000))))
    assert len(read.updates) == 4000
    assert bad == []
    assert isinstance(read.updates[0], UpdateItem)
    assert read.scanned_at == NOW


def test_named_bad_rows_are_bounded() -> None:
    read, bad = split_inventory(inventory(*([{}] * 5000)))
    assert (len(read.updates), len(bad)) == (0, 100)


@pytest.mark.parametrize(
    "data",
    [
        inventory(manager="APT\n"),
        inventory(scanned_at="yesterday"),
        inventory(updates={}),
        inventory(updates=None),
        inventory(problems=["x" * 5000]),
        inventory(problems=["a\0b"]),
        inventory(extra=1),
        inventory(type="facts"),
        inventory(*([1] * (limits.UPDATES_MAX + 1))),
        json.dumps({"type": "inventory"}).encode(),
    ],
    ids=range(10),
)
def test_inventory_with_a_bad_head_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaRefusedError):
        split_inventory(data)


def test_output_holds_both_ends_and_no_more() -> None:
    good = json.loads(BODIES[3].to_bytes())
    both_ends = "\x1b[1m" + "x" * (2 * limits.OUTPUT_KEEP_BYTES) + "[...]"
    read = parse_body(json.dumps({**good, "stdout": both_ends}).encode())
    assert isinstance(read, InstallResult)
    for wrong in ("x" * (limits.OUTPUT_MAX_BYTES + 1), "a\0b"):
        with pytest.raises(SchemaRefusedError):
            parse_body(json.dumps({**good, "stdout": wrong}).encode())
