import asyncio
import base64
import json
import secrets
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from redflag_broker_config import subjects
from redflag_gateway.agent_plane import SIGNED_WITHOUT_TOKEN, UNSIGNED
from redflag_wire.http_signature import Tag, content_digest
from redflag_wire.signing import SigningKey
from tests.integration.gateway.conftest import Bench, RunningGateway, eventually
from tests.integration.gateway.doubles import REPORTS, AgentDouble, Reply, new_agent_id

COMMANDS = "/agent/v1/commands"
ACK = "/agent/v1/commands/ack"


def _key() -> SigningKey:
    return SigningKey.generate(secrets.token_bytes)


async def _fresh(agent: AgentDouble) -> AgentDouble:
    """Have the agent hold a good server nonce."""
    await agent.send("GET", "/agent/v1/keys", {})
    return agent


async def test_every_route_outside_the_list_refuses_an_unsigned_request(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = await _fresh(bench.agent(gateway))
    routes = gateway.gateway.routes()
    assert {(route.method, route.path) for route in routes} > UNSIGNED | SIGNED_WITHOUT_TOKEN
    walked = 0
    for route in routes:
        if (route.method, route.path) in UNSIGNED:
            continue
        bare = {"Authorization": f"Bearer {agent.token}", "Content-Type": "application/json"}
        reply = await agent.send(route.method, route.path, bare, b"{}" if route.method == "POST" else b"")
        assert (reply.status, reply.code) == (401, "unsigned"), route
        walked += 1
    assert walked == len(routes) - 3


async def test_each_missing_header_of_the_signature_is_unsigned(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = await _fresh(bench.agent(gateway))
    for name in agent.sign("GET", COMMANDS):
        headers = agent.sign("GET", COMMANDS)
        del headers[name]
        reply = await agent.send("GET", COMMANDS, headers)
        assert (reply.status, reply.code) == (401, "unsigned"), name


async def test_first_request_is_told_a_nonce_and_then_served(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    reply = await agent.send("GET", COMMANDS, agent.sign("GET", COMMANDS))
    assert (reply.status, reply.code) == (401, "nonce_stale")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert set(reply.body) == {"type", "title", "status", "code", "detail"}
    reply = await agent.send("GET", COMMANDS, agent.sign("GET", COMMANDS))
    assert reply.status == 200


async def _attack(bench: Bench, gateway: RunningGateway, name: str) -> Reply:
    agent = await _fresh(bench.agent(gateway))
    other = bench.agent(gateway)
    body = b'{"handles":[]}'
    headers = agent.sign("POST", ACK, body)
    path = ACK
    match name:
        case "replayed":
            assert (await agent.send("POST", ACK, headers, body)).status == 200
        case "other body":
            body = b'{"handles":["x"]}'
        case "other body with its digest":
            body = b'{"handles":["x"]}'
            headers["Content-Digest"] = content_digest(body)
        case "other path":
            path = "/agent/v1/reports"
        case "other query":
            path = ACK + "?x=1"
        case "other method":
            return await agent.send("GET", COMMANDS, agent.sign("POST", COMMANDS))
        case "other origin":
            headers = agent.sign("POST", ACK, body, origin="http://evil.example")
        case "other content type":
            headers["Content-Type"] = "text/plain"
        case "other token":
            headers["Authorization"] = f"Bearer {other.token}"
        case "other key":
            headers = agent.sign("POST", ACK, body, key=_key())
        case "other signature":
            headers["Signature"] = "rf=:" + base64.b64encode(bytes(64)).decode() + ":"
        case "renewal's tag":
            headers = agent.sign("POST", ACK, body, tag=Tag.RENEW)
            headers["Authorization"] = f"Bearer {agent.token}"
        case "two signatures":
            headers["Signature"] += ", " + headers["Signature"].replace("rf=", "x=")
        case "extra component":
            headers["Signature-Input"] = headers["Signature-Input"].replace(
                '"rf-nonce")', '"rf-nonce" "date")'
            )
        case "less components":
            headers["Signature-Input"] = headers["Signature-Input"].replace(' "authorization"', "")
        case "wrong nonce":
            headers["RF-Nonce"] = "AAAAAAAAAAAAAAAAAAAAAA"
        case "sha-512 digest":
            headers["Content-Digest"] = "sha-512=:" + base64.b64encode(bytes(64)).decode() + ":"
        case "basic authorization":
            headers["Authorization"] = "Basic eDp5"
    return await agent.send("POST", path, headers, body)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("replayed", "replay"),
        ("other body", "content_digest"),
        ("other body with its digest", "signature"),
        ("other path", "signature"),
        ("other query", "signature"),
        ("other method", "signature"),
        ("other origin", "signature"),
        ("other content type", "signature"),
        ("other token", "keyid"),
        ("other key", "keyid"),
        ("other signature", "signature"),
        ("renewal's tag", "tag"),
        ("two signatures", "signature_form"),
        ("extra component", "components"),
        ("less components", "components"),
        ("wrong nonce", "nonce_stale"),
        ("sha-512 digest", "content_digest_form"),
        ("basic authorization", "token"),
    ],
)
async def test_attack_on_a_signed_request_is_refused(
    bench: Bench, gateway: RunningGateway, name: str, code: str
) -> None:
    reply = await _attack(bench, gateway, name)
    assert (reply.status, reply.code) == (401, code)
    assert gateway.metric("refusals_total", code=code) == 1


async def test_header_sent_twice_is_refused(bench: Bench, gateway: RunningGateway) -> None:
    agent = await _fresh(bench.agent(gateway))
    headers = agent.sign("GET", COMMANDS)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Signature: {headers['Signature']}", "Host: x", "Connection: close"]
    host, port = gateway.origin.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write((f"GET {COMMANDS} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert b" 401 " in answer
    assert b"header_twice" in answer


def _unsigned_jwt(header: dict[str, Any], token: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("another signer", "token"),
        ("unknown kid", "token"),
        ("other type", "token"),
        ("no type", "token"),
        ("alg none", "token"),
        ("other issuer", "token"),
        ("other audience", "token"),
        ("expired", "token_expired"),
        ("without exp", "token"),
        ("without cnf", "token"),
        ("without gen", "token"),
        ("without jti", "token"),
        ("without sub", "token"),
        ("a week long", "token"),
        ("from the future", "token"),
        ("no uuid", "token"),
        ("small-order key", "token"),
        ("garbage", "token"),
        ("too long", "token"),
    ],
)
async def test_bad_token_is_refused(bench: Bench, gateway: RunningGateway, name: str, code: str) -> None:
    agent = await _fresh(bench.agent(gateway))
    double, key, who = bench.dispatcher, agent.key, agent.agent
    small = base64.urlsafe_b64encode(b"\x01" + bytes(31)).rstrip(b"=").decode()
    now = 1_700_000_000
    make: dict[str, Any] = {
        "another signer": lambda: double.token(who, key, signer=_key()),
        "unknown kid": lambda: double.token(who, key, header={"kid": "ed25519:00"}),
        "other type": lambda: double.token(who, key, header={"typ": "JWT"}),
        "no type": lambda: double.token(who, key, header={"typ": ""}),
        "alg none": lambda: _unsigned_jwt({"alg": "none", "typ": "rf-agent+jwt"}, agent.token),
        "other issuer": lambda: double.token(who, key, iss=str(new_agent_id())),
        "other audience": lambda: double.token(who, key, aud="rf-dashboard"),
        "expired": lambda: double.token(who, key, iat=now, exp=now + 60),
        "without exp": lambda: double.token(who, key, exp=None),
        "without cnf": lambda: double.token(who, key, cnf=None),
        "without gen": lambda: double.token(who, key, gen=None),
        "without jti": lambda: double.token(who, key, jti=None),
        "without sub": lambda: double.token(who, key, sub=None),
        "a week long": lambda: double.token(who, key, exp=4_000_000_000),
        "from the future": lambda: double.token(who, key, iat=3_999_999_000, exp=4_000_000_000),
        "no uuid": lambda: double.token(who, key, sub="x"),
        "small-order key": lambda: double.token(
            who, key, cnf={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": small}}
        ),
        "garbage": lambda: "a.b.c",
        "too long": lambda: agent.token + "A" * 4096,
    }
    agent.token = make[name]()
    reply = await agent.send("GET", COMMANDS, agent.sign("GET", COMMANDS))
    assert (reply.status, reply.code) == (401, code)


async def test_revoked_agent_is_shut_out_within_seconds_until_the_entry_is_deleted(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    key = subjects.status_key(agent.agent)
    assert await agent.poll() == []
    await bench.dispatcher.put(subjects.KV_STATUS, key, b"revoked")

    async def code_is(code: str | None) -> bool:
        return (await agent.call("GET", "/commands")).code == code

    await eventually(lambda: code_is("agent_revoked"), "the refusal", 10)
    late = await bench.start_gateway()
    await bench.ready(late)
    reply = await bench.agent(late, agent.agent, agent.key).call("GET", "/commands")
    assert (reply.status, reply.code) == (403, "agent_revoked")
    bucket = await bench.dispatcher.nc.jetstream().key_value(subjects.KV_STATUS)
    await bucket.delete(key)
    await eventually(lambda: code_is(None), "the way back in", 10)


async def test_rotated_access_key_counts_and_the_old_one_no_longer(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    assert await agent.poll() == []
    rotated = _key()
    await bench.dispatcher.publish_manifest(2, rotated)
    await eventually(lambda: gateway.gateway.keys.version == 2, "the second manifest")
    assert (await agent.call("GET", "/commands")).code == "token"
    agent.token = bench.dispatcher.token(agent.agent, agent.key, signer=rotated)
    assert await agent.poll() == []
    reply = await agent.send("GET", "/agent/v1/keys", {})
    assert len(reply.body["manifests"]) == 2


async def test_manifest_of_other_roots_is_not_believed(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    bench.dispatcher.root = _key()
    stranger = _key()
    await bench.dispatcher.publish_manifest(2, stranger)
    assert await agent.poll() == []
    agent.token = bench.dispatcher.token(agent.agent, agent.key, signer=stranger)
    assert (await agent.call("GET", "/commands")).code == "token"
    assert gateway.gateway.keys.version == 1


async def test_too_large_bodies_are_refused(bench: Bench, gateway: RunningGateway) -> None:
    agent = await _fresh(bench.agent(gateway))
    limits = {"/agent/v1/commands/ack": 65_536, "/agent/v1/reports": 2 * 1024 * 1024}
    for path, limit in limits.items():
        body = b"x" * (limit + 1)
        kind = REPORTS if "reports" in path else "application/json"
        reply = await agent.send("POST", path, agent.sign("POST", path, body, content_type=kind), body)
        assert (reply.status, reply.code) == (413, "too_large")
        chunked = agent.sign("POST", path, body, content_type=kind)

        async def pieces(data: bytes = body) -> Any:
            yield data

        async with bench.http.post(gateway.origin + path, data=pieces(), headers=chunked) as answer:
            assert answer.status == 413
    reply = await agent.send("POST", "/agent/v1/enroll", {"Content-Type": "application/json"}, b"x" * 65_537)
    assert reply.status == 413


async def test_encoded_body_is_refused_unread(bench: Bench, gateway: RunningGateway) -> None:
    agent = await _fresh(bench.agent(gateway))
    headers = agent.sign("POST", ACK, b"x") | {"Content-Encoding": "gzip"}
    assert (await agent.send("POST", ACK, headers, b"x")).status == 415


@pytest.mark.parametrize("query", ["wait=56", "wait=-1", "wait=x", "wait=", "wait=%C2%B2", "other=1"])
async def test_poll_with_another_query_is_malformed(
    bench: Bench, gateway: RunningGateway, query: str
) -> None:
    reply = await bench.agent(gateway).call("GET", f"/commands?{query}")
    assert (reply.status, reply.code) == (400, "wait")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"handles":"x"}',
        b'{"handles":[1]}',
        b'{"handles":[],"x":1}',
        b'{"handles":[NaN]}',
    ],
)
async def test_acknowledgement_of_another_form_is_malformed(
    bench: Bench, gateway: RunningGateway, body: bytes
) -> None:
    assert (await bench.agent(gateway).call("POST", "/commands/ack", body)).status == 400


async def test_unknown_paths_and_methods_are_answered_in_the_same_form(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = await _fresh(bench.agent(gateway))
    for method, path in [("GET", "/"), ("DELETE", COMMANDS), ("GET", "/agent/v1/../x"), ("HEAD", COMMANDS)]:
        reply = await agent.send(method, path, {})
        assert reply.status == 404
        assert method == "HEAD" or reply.code == "not_found"


async def test_agents_cannot_act_for_each_other(bench: Bench, gateway: RunningGateway) -> None:
    victim, thief = bench.agent(gateway), bench.agent(gateway)
    await bench.dispatcher.publish_command(victim.agent)
    assert await thief.poll() == []
    assert len(await victim.poll()) == 1


async def test_open_connections_that_say_nothing_hold_nobody_up(
    bench: Bench, gateway: RunningGateway
) -> None:
    host, port = gateway.origin.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        assert await bench.agent(gateway).poll() == []
    finally:
        for connection in silent:
            connection.close()


async def test_record_of_a_delivery_names_the_authenticated_agent_and_the_command(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    cmd, _envelope = await bench.dispatcher.publish_command(agent.agent)
    with capture_logs() as records:
        await agent.poll()
    (record,) = [record for record in records if record["event"] == "request" and record["status"] == 200]
    assert (record["agent"], record["cmds"]) == (str(agent.agent), [str(cmd)])
    assert agent.token not in str(records)
