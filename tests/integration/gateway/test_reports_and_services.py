import asyncio
import base64
import json
import secrets

import pytest

from redflag_broker_config import api, subjects
from redflag_broker_config.apply import apply
from redflag_broker_config.streams import up_stream
from redflag_wire.enrolment import EnrollRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import Envelope
from redflag_wire.http_signature import Tag
from redflag_wire.payload_types import PayloadType
from redflag_wire.report_framing import frame_reports, split_reports
from redflag_wire.signing import SigningKey, sign_envelope
from tests.integration.gateway.conftest import Bench, RunningGateway, eventually
from tests.integration.gateway.doubles import REPORTS, AgentDouble, Reply


async def _report(agent: AgentDouble, *pairs: tuple[bytes, bytes]) -> Reply:
    return await agent.call("POST", "/reports", frame_reports(pairs), content_type=REPORTS)


async def _stored(bench: Bench) -> int:
    info = await api.request(bench.dispatcher.nc, "STREAM.INFO.UP")
    return int(info["state"]["messages"])


async def test_reports_are_stored_one_by_one_under_the_authenticated_agent(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    told = await bench.dispatcher.nc.subscribe("rf.up.report.*")
    await bench.dispatcher.nc.flush()
    reply = await _report(agent, (b'{"a":1}', b"body"), (b'{"b":2}', b""))
    assert (reply.status, reply.body) == (202, {"stored": 2})
    assert await _stored(bench) == 2
    first, second = await told.next_msg(timeout=5), await told.next_msg(timeout=5)
    assert first.subject == f"rf.up.report.{subjects.shard_of(agent.agent)}"
    assert first.headers is not None
    assert second.headers is not None
    assert first.headers["RF-Agent"] == agent.agent.hex
    assert first.headers["Nats-Msg-Id"] != second.headers["Nats-Msg-Id"]
    assert sorted(split_reports(first.data) + split_reports(second.data)) == [
        (b'{"a":1}', b"body"),
        (b'{"b":2}', b""),
    ]


async def test_resent_report_is_stored_once_and_anothers_copy_apart(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent, other = bench.agent(gateway), bench.agent(gateway)
    for _ in range(2):
        assert (await _report(agent, (b"e", b""))).status == 202
    assert (await _report(other, (b"e", b""))).status == 202
    assert await _stored(bench) == 2


async def test_largest_report_is_stored(bench: Bench, gateway: RunningGateway) -> None:
    reply = await _report(bench.agent(gateway), (b"e" * 262_144, secrets.token_bytes(1024 * 1024)))
    assert reply.status == 202


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x00\x00\x00\x01e", b"\x00\x00\x00\x01e\xff\xff\xff\xff"])
async def test_reports_in_another_framing_are_malformed(
    bench: Bench, gateway: RunningGateway, body: bytes
) -> None:
    reply = await bench.agent(gateway).call("POST", "/reports", body, content_type=REPORTS)
    assert reply.status == 400
    assert await _stored(bench) == 0


async def test_no_room_for_reports_is_a_503_and_nothing_is_promised(
    bench: Bench, gateway: RunningGateway
) -> None:
    nc = bench.dispatcher.nc
    await api.request(nc, "STREAM.UPDATE.UP", {**up_stream(), "max_msgs": 1})
    agent = bench.agent(gateway)
    assert (await _report(agent, (b"1", b""))).status == 202
    reply = await _report(agent, (b"2", b""))
    assert (reply.status, reply.code) == (503, "not_stored")
    assert int(reply.headers["Retry-After"]) > 0
    await api.request(nc, "STREAM.UPDATE.UP", up_stream())
    assert (await _report(agent, (b"2", b""))).status == 202


async def test_broker_away_is_a_503_and_comes_back_by_itself(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    assert await agent.poll() == []
    bench.broker.kill()
    await eventually(lambda: not gateway.gateway.broker.connected, "the loss of the connection")
    for reply in (await _report(agent, (b"1", b"")), await agent.call("GET", "/commands?wait=5")):
        assert (reply.status, reply.code) == (503, "broker_away")
        assert int(reply.headers["Retry-After"]) > 0
    assert (await gateway.gateway.readiness())["broker"] is not None
    bench.broker.start()
    await bench.ready(gateway)
    assert (await _report(agent, (b"1", b""))).status == 202
    assert await agent.poll() == []


async def test_poll_parked_over_an_outage_gets_what_it_was_not_woken_for(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    await agent.poll()
    parked = asyncio.create_task(agent.poll(wait=50))
    await eventually(lambda: len(gateway.gateway.parked) == 1, "a parked poll")
    # Its wake-up is lost: after the reconnection the gateway has to look by itself.
    await bench.dispatcher.publish_command(agent.agent, wake=False)
    bench.broker.stop()  # in order: command streams write behind, a kill right now would lose it
    await eventually(lambda: not gateway.gateway.broker.connected, "the loss of the connection")
    assert not parked.done()
    bench.broker.start()
    assert len(await asyncio.wait_for(parked, 30)) == 1


async def test_store_deleted_while_stopped_delivers_again_after_republication(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.put(
        subjects.KV_STATUS, subjects.status_key(bench.agent(gateway).agent), b"revoked"
    )
    await bench.dispatcher.publish_command(agent.agent)
    (old,) = await agent.poll()
    bench.broker.stop()
    bench.broker.wipe_store()
    await eventually(lambda: not bench.dispatcher.nc.is_connected, "the loss of the connection")
    bench.broker.start()
    await eventually(lambda: bench.dispatcher.nc.is_connected, "the dispatcher's connection")
    await apply(bench.dispatcher.nc)
    await bench.dispatcher.publish_manifest()
    await bench.ready(gateway)
    await bench.dispatcher.publish_command(agent.agent)
    (new,) = await agent.poll(wait=20)
    assert await agent.ack(old["handle"]) == 0
    assert await agent.ack(new["handle"]) == 1


async def test_gateway_started_before_the_broker_serves_once_it_is_there(bench: Bench) -> None:
    bench.broker.stop()
    running = await bench.start_gateway()
    agent = bench.agent(running)
    reply = await agent.send("GET", "/agent/v1/keys", {})
    assert (reply.status, reply.code) == (503, "no_manifest")
    bench.broker.start()
    await bench.ready(running)
    assert await agent.poll() == []


async def test_revocation_survives_an_outage_of_the_broker(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.put(subjects.KV_STATUS, subjects.status_key(agent.agent), b"quarantined")

    async def shut_out() -> bool:
        return (await agent.call("GET", "/commands")).code == "agent_quarantined"

    await eventually(shut_out, "the refusal")
    bench.broker.stop()
    bench.broker.wipe_store()
    assert await shut_out()
    bench.broker.start()
    await eventually(lambda: gateway.gateway.broker.connected, "the connection")
    assert await shut_out()


def _enrolment(bench: Bench, challenge: str) -> Envelope:
    token = EnrolmentToken.mint(secrets.token_bytes, bytes(32))
    agent_key, receipt_key = (SigningKey.generate(secrets.token_bytes) for _ in range(2))
    request = EnrollRequest(
        fleet=bench.dispatcher.fleet,
        token_id=token.token_id,
        challenge=challenge,
        agent_pub=agent_key.public.to_b64(),
        receipt_pub=receipt_key.public.to_b64(),
        machine_id="0" * 64,
        facts={},
    )
    return sign_envelope(PayloadType.ENROLL, request.to_bytes(), SigningKey(token.seed), agent_key)


async def test_enrolment_is_passed_on_and_its_answer_back(bench: Bench, gateway: RunningGateway) -> None:
    asked = await bench.dispatcher.serve(
        subjects.SERVICE_ENROLL,
        [
            {"status": 200, "body": {"enrolled": {"payload": "x"}}},
            {"status": 403, "body": {"code": "seats", "detail": "No seat is left."}},
        ],
    )
    agent = bench.agent(gateway)
    challenge = (await agent.send("GET", "/agent/v1/enroll/challenge", {})).body["challenge"]
    body = _enrolment(bench, challenge).to_bytes()
    headers = {"Content-Type": "application/json"}
    reply = await agent.send("POST", "/agent/v1/enroll", headers, body)
    assert (reply.status, reply.body) == (200, {"enrolled": {"payload": "x"}})
    assert await asked.get() == {"envelope": base64.b64encode(body).decode(), "peer": "127.0.0.1"}
    reply = await agent.send("POST", "/agent/v1/enroll", headers, body)
    assert (reply.status, reply.code) == (403, "seats")


async def test_enrolment_without_our_challenge_is_not_passed_on(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    headers = {"Content-Type": "application/json"}
    for challenge in ("x", agent.nonce, (await agent.send("GET", "/agent/v1/keys", {})).headers["RF-Nonce"]):
        body = _enrolment(bench, challenge).to_bytes()
        reply = await agent.send("POST", "/agent/v1/enroll", headers, body)
        assert (reply.status, reply.code) == (403, "challenge")
    assert (await agent.send("POST", "/agent/v1/enroll", headers, b"{}")).status == 400


async def test_nobody_to_answer_an_enrolment_is_a_503(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    challenge = (await agent.send("GET", "/agent/v1/enroll/challenge", {})).body["challenge"]
    body = _enrolment(bench, challenge).to_bytes()
    reply = await agent.send("POST", "/agent/v1/enroll", {"Content-Type": "application/json"}, body)
    assert (reply.status, reply.code) == (503, "service_away")


@pytest.mark.parametrize(
    ("path", "subject"), [("/renew", subjects.SERVICE_RENEW), ("/renew/confirm", subjects.SERVICE_CONFIRM)]
)
async def test_renewal_is_passed_on_with_all_its_signed_parts(
    bench: Bench, gateway: RunningGateway, path: str, subject: str
) -> None:
    asked = await bench.dispatcher.serve(subject, [{"status": 200, "body": {"gen": 2}}])
    agent = bench.agent(gateway)
    body = json.dumps({"gen": 1}).encode()
    reply = await agent.call("POST", path, body, tag=Tag.RENEW)
    assert (reply.status, reply.body) == (200, {"gen": 2})
    question = await asked.get()
    assert question["target_uri"] == f"{gateway.origin}/agent/v1{path}"
    assert question["method"] == "POST"
    assert base64.b64decode(question["body"]) == body
    assert question["authorization"] is None
    assert set(question) == {
        "method",
        "target_uri",
        "content_type",
        "content_digest",
        "rf_nonce",
        "signature_input",
        "signature",
        "body",
        "authorization",
    }


async def test_renewal_signed_for_another_call_or_body_is_not_passed_on(
    bench: Bench, gateway: RunningGateway
) -> None:
    asked = await bench.dispatcher.serve(subjects.SERVICE_RENEW, [])
    agent = bench.agent(gateway)
    await agent.send("GET", "/agent/v1/keys", {})
    path = "/agent/v1/renew"
    assert (await agent.send("POST", path, agent.sign("POST", path, b"{}"), b"{}")).code == "tag"
    signed = agent.sign("POST", path, b"{}", tag=Tag.RENEW)
    assert (await agent.send("POST", path, signed, b"[]")).code == "content_digest"
    agent.nonce = "stale"
    assert (await agent.send("POST", path, agent.sign("POST", path, tag=Tag.RENEW))).code == "nonce_stale"
    assert asked.empty()
