import asyncio
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from redflag_broker_config.subjects import SERVICE_CONFIRM, SERVICE_ENROLL, SERVICE_RENEW
from redflag_dispatcher.auth_service import AuthService
from redflag_wire import base64_strict
from redflag_wire.access_token import AccessClaims
from redflag_wire.enrolment import Enrolled, EnrollRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import parse_envelope, verify_envelope
from redflag_wire.http_signature import RequestParts, Tag, content_digest, sign_request
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import SigningKey, sign_envelope
from tests.integration.dispatcher.rig import CLOCK, FLEET, Host, Rig, b64, make_key

ORIGIN = "http://127.0.0.1:7480"


@pytest.fixture
async def auth(rig: Rig) -> AsyncIterator[AuthService]:
    service = AuthService(rig.nc, rig.enrolments, rig.renewals, metrics=rig.metrics)
    await service.start()
    yield service
    await service.stop()


async def make_token(rig: Rig, seats: int = 1, **columns: Any) -> EnrolmentToken:
    token = EnrolmentToken.mint(secrets.token_bytes, bytes(32))
    values = {
        "expires_at": CLOCK.now() + timedelta(hours=24),
        "revoked_at": None,
        "auto_approve": True,
        **columns,
    }
    await rig.rows(
        "INSERT INTO enrollment_token (id, pub, max_seats, used, expires_at, revoked_at, auto_approve, tags, "
        "created_by, created_at) VALUES ($1, $2, $3, 0, $4, $5, $6, '{\"site\": \"lab\"}', 'admin', now())",
        token.token_id,
        token.public.raw,
        seats,
        values["expires_at"],
        values["revoked_at"],
        values["auto_approve"],
    )
    return token


def enrol_envelope(token: EnrolmentToken, host: Host, *signers: SigningKey, **fields: Any) -> bytes:
    values: dict[str, Any] = {
        "fleet": FLEET,
        "token_id": token.token_id,
        "challenge": "challenge",
        "agent_pub": host.agent_key.public.to_b64(),
        "receipt_pub": host.receipt_key.public.to_b64(),
        "machine_id": host.machine_id,
        "facts": {"hostname": "web-1"},
        **fields,
    }
    payload = EnrollRequest(**values).to_bytes()
    return sign_envelope(
        PayloadType.ENROLL, payload, *(signers or (token.signing_key, host.agent_key))
    ).to_bytes()


async def ask(rig: Rig, subject: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = json.loads((await rig.nc.request(subject, json.dumps(request).encode(), timeout=10)).data)
    return answer["status"], answer["body"]


async def enrol(rig: Rig, envelope: bytes) -> tuple[int, dict[str, Any]]:
    return await ask(rig, SERVICE_ENROLL, {"envelope": b64(envelope), "peer": "192.0.2.7"})


def read(rig: Rig, body: dict[str, Any]) -> Enrolled:
    envelope = parse_envelope(json.dumps(body["enrolled"]).encode())
    return Enrolled.from_bytes(
        verify_envelope(envelope, PayloadType.ENROLLED, [rig.keys.access.public]).payload
    )


async def joined(rig: Rig) -> tuple[Host, Enrolled]:
    """Enrol a host; its first generation is not confirmed."""
    host = Host()
    status, body = await enrol(rig, enrol_envelope(await make_token(rig), host))
    assert status == 200
    enrolled = read(rig, body)
    host.id = enrolled.agent
    return host, enrolled


async def test_host_gets_an_identity_bound_to_its_keys(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    assert enrolled.agent_pub == host.agent_key.public.to_b64()
    assert enrolled.receipt_pub == host.receipt_key.public.to_b64()
    assert (enrolled.gen, enrolled.status, enrolled.fleet) == (1, "active", FLEET)
    (row,) = await rig.rows("SELECT * FROM agent")
    assert (row["id"], row["hostname"], row["state"]) == (host.id, "web-1", "active")
    assert json.loads(row["tags"]) == {"site": "lab"}
    (secret,) = await rig.rows("SELECT secret_sha256, state FROM access_generation")
    assert secret["secret_sha256"] == hashlib.sha256(base64_strict.decode(enrolled.renewal_secret)).digest()
    (event,) = await rig.events("host_enrolled")
    assert (event["agent_id"], event["data"]["peer"]) == (host.id, "192.0.2.7")
    assert base64_strict.decode(enrolled.renewal_secret).hex() not in str(
        await rig.rows("SELECT * FROM access_generation")
    )


async def test_access_token_is_bound_to_the_agents_key(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    key = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": base64_strict.encode_url(rig.keys.access.public.raw)}
    )
    token = jwt.decode(enrolled.access_token, key, algorithms=["Ed25519"])
    assert token.header["typ"] == "rf-agent+jwt"
    assert token.header["kid"] == rig.keys.access.public.keyid
    claims = AccessClaims.from_claims(token.claims)
    assert claims.sub == host.id
    assert claims.cnf.jwk.key == host.agent_key.public
    assert claims.exp - claims.iat == 3600


async def test_token_without_auto_approval_makes_a_pending_host(rig: Rig, auth: AuthService) -> None:
    token = await make_token(rig, auto_approve=False)
    _, body = await enrol(rig, enrol_envelope(token, Host()))
    assert read(rig, body).status == "pending"
    assert await rig.value("SELECT state FROM agent") == "pending"


async def test_50_hosts_on_3_seats_make_3_agents(rig: Rig, auth: AuthService) -> None:
    token = await make_token(rig, seats=3)
    hosts = [Host() for _ in range(50)]
    answers = await asyncio.gather(*(enrol(rig, enrol_envelope(token, host)) for host in hosts))
    assert Counter(status for status, _ in answers) == {200: 3, 403: 47}
    assert await rig.value("SELECT count(*) FROM agent") == 3
    assert await rig.value("SELECT used FROM enrollment_token") == 3


async def test_retry_with_the_same_key_is_free(rig: Rig, auth: AuthService) -> None:
    token = await make_token(rig)
    host = Host()
    envelope = enrol_envelope(token, host)
    answers = await asyncio.gather(*(enrol(rig, envelope) for _ in range(8)))
    assert {status for status, _ in answers} == {200}
    found = [read(rig, body) for _, body in answers]
    assert len({one.agent for one in found}) == 1
    assert len({one.renewal_secret for one in found}) == 8, (
        "each answer has a fresh secret; the last one counts"
    )
    assert await rig.value("SELECT used FROM enrollment_token") == 1
    # The token ran out meanwhile: the seat is this host's already.
    await rig.rows("UPDATE enrollment_token SET expires_at = now() - interval '1 hour'")
    status, _ = await enrol(rig, envelope)
    assert status == 200
    await rig.rows("UPDATE enrollment_token SET revoked_at = now()")
    status, _ = await enrol(rig, envelope)
    assert status == 403


async def test_expired_revoked_unknown_used_and_forged_get_the_same_answer(
    rig: Rig, auth: AuthService
) -> None:
    past = CLOCK.now() - timedelta(seconds=1)
    used = await make_token(rig)
    await enrol(rig, enrol_envelope(used, Host()))
    good = await make_token(rig)
    host = Host()
    refused = [
        enrol_envelope(await make_token(rig, expires_at=past), Host()),
        enrol_envelope(await make_token(rig, revoked_at=past), Host()),
        enrol_envelope(EnrolmentToken.mint(secrets.token_bytes, bytes(32)), Host()),
        enrol_envelope(used, Host()),
        enrol_envelope(good, host, good.signing_key),
        enrol_envelope(good, host, host.agent_key),
        enrol_envelope(good, host, make_key(), host.agent_key),
        enrol_envelope(good, host, good.signing_key, make_key()),
        enrol_envelope(good, host, fleet=str(rig.new_id())),
    ]
    answers = [await enrol(rig, envelope) for envelope in refused]
    assert {status for status, _ in answers} == {403}
    assert len({json.dumps(body) for _, body in answers}) == 1
    assert await rig.value("SELECT used FROM enrollment_token WHERE id = $1", good.token_id) == 0


async def test_key_of_another_agent_does_not_enrol_again(rig: Rig, auth: AuthService) -> None:
    host, _ = await joined(rig)
    status, _ = await enrol(rig, enrol_envelope(await make_token(rig), host))
    assert status == 403
    assert await rig.value("SELECT count(*) FROM agent") == 1


async def test_malformed_requests_get_an_answer(rig: Rig, auth: AuthService) -> None:
    token = await make_token(rig)
    wrong_type = sign_envelope(PayloadType.REPORT, b"{}", token.signing_key).to_bytes()
    assert (await enrol(rig, b"{}"))[0] == 400
    assert (await enrol(rig, wrong_type))[0] == 400
    assert (await ask(rig, SERVICE_ENROLL, {"envelope": 1}))[0] == 400
    assert (await ask(rig, SERVICE_RENEW, {}))[0] == 400
    answer = json.loads((await rig.nc.request(SERVICE_ENROLL, b"no json", timeout=5)).data)
    assert answer["status"] == 400


# Renewal, docs/protocol.md 8.4


async def signed(
    rig: Rig,
    subject: str,
    host: Host,
    body: dict[str, Any],
    *,
    key: SigningKey | None = None,
    tag: Tag = Tag.RENEW,
    nonce: bytes | None = None,
) -> tuple[int, dict[str, Any]]:
    path = {SERVICE_RENEW: "/agent/v1/renew", SERVICE_CONFIRM: "/agent/v1/renew/confirm"}[subject]
    data = json.dumps(body).encode()
    parts = RequestParts(
        method="POST",
        target_uri=ORIGIN + path,
        content_type="application/json",
        content_digest=content_digest(data),
        rf_nonce="nonce",
        authorization="Bearer x" if tag is Tag.AGENT else None,
    )
    signature_input, signature = sign_request(
        parts,
        signer=(key or host.agent_key).sign,
        keyid=host.agent_key.public.thumbprint,
        created=int(CLOCK.now().timestamp()),
        nonce=b64(nonce or secrets.token_bytes(16)),
        tag=tag,
    )
    return await ask(
        rig,
        subject,
        {
            "method": parts.method,
            "target_uri": parts.target_uri,
            "content_type": parts.content_type,
            "content_digest": parts.content_digest,
            "rf_nonce": parts.rf_nonce,
            "authorization": parts.authorization,
            "signature_input": signature_input,
            "signature": signature,
            "body": b64(data),
        },
    )


async def renew(rig: Rig, host: Host, gen: int, secret: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    machine_id = changes.pop("machine_id", host.machine_id)
    return await signed(
        rig, SERVICE_RENEW, host, {"machine_id": machine_id, "gen": gen, "secret": secret}, **changes
    )


async def confirm(rig: Rig, host: Host, gen: int, secret: str) -> tuple[int, dict[str, Any]]:
    return await signed(rig, SERVICE_CONFIRM, host, {"gen": gen, "secret": secret})


async def test_generations_follow_each_other(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    assert await confirm(rig, host, 1, enrolled.renewal_secret) == (200, {"gen": 1})
    status, second = await renew(rig, host, 1, enrolled.renewal_secret)
    assert (status, second["gen"]) == (200, 2)
    assert await confirm(rig, host, 2, second["secret"]) == (200, {"gen": 2})
    states = await rig.rows("SELECT gen, state FROM access_generation ORDER BY gen")
    assert [tuple(row.values()) for row in states] == [(1, "ended"), (2, "current")]


async def test_lost_answer_of_a_renewal_locks_nobody_out(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    await confirm(rig, host, 1, enrolled.renewal_secret)
    _, lost = await renew(rig, host, 1, enrolled.renewal_secret)
    status, second = await renew(rig, host, 1, enrolled.renewal_secret)
    assert (status, second["gen"]) == (200, 2)
    assert (await confirm(rig, host, 2, lost["secret"]))[0] == 403, "the secret of the lost answer is dead"
    assert (await confirm(rig, host, 2, second["secret"]))[0] == 200
    assert await rig.events("generation_ended") == []


async def test_recorded_renewal_sent_again_leaves_the_good_secret_good(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    await confirm(rig, host, 1, enrolled.renewal_secret)
    nonce = secrets.token_bytes(16)
    _, second = await renew(rig, host, 1, enrolled.renewal_secret, nonce=nonce)
    status, body = await renew(rig, host, 1, enrolled.renewal_secret, nonce=nonce)
    assert (status, body["code"]) == (409, "renewal_repeated")
    assert (await confirm(rig, host, 2, second["secret"]))[0] == 200
    assert (await renew(rig, host, 1, enrolled.renewal_secret, nonce=nonce))[0] == 409
    assert await rig.events("generation_ended") == [], "a replay is no clone"


async def test_lost_answer_of_a_confirmation_locks_nobody_out(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    for _ in range(3):
        assert await confirm(rig, host, 1, enrolled.renewal_secret) == (200, {"gen": 1})


async def test_presenting_the_issued_generation_confirms_it(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    status, second = await renew(rig, host, 1, enrolled.renewal_secret)
    assert (status, second["gen"]) == (200, 2), "enrolment's own generation was never confirmed"
    status, third = await renew(rig, host, 2, second["secret"])
    assert (status, third["gen"]) == (200, 3)
    states = await rig.rows("SELECT gen, state FROM access_generation ORDER BY gen")
    assert [tuple(row.values()) for row in states] == [(1, "ended"), (2, "current"), (3, "issued")]


async def test_ended_generation_is_refused_and_told(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    _, second = await renew(rig, host, 1, enrolled.renewal_secret)
    await confirm(rig, host, 2, second["secret"])
    for attempt in (renew, confirm):
        status, body = await attempt(rig, host, 1, enrolled.renewal_secret)
        assert (status, body["code"]) == (403, "generation_ended")
    events = await rig.events("generation_ended")
    # The same twice within a while is one row that counts.
    assert {event["agent_id"] for event in events} == {host.id}
    assert sum(event["count"] for event in events) == 2
    assert (await renew(rig, host, 2, second["secret"]))[0] == 200, "the good agent goes on"


async def test_confirmed_host_does_not_enrol_again_with_its_key(rig: Rig, auth: AuthService) -> None:
    token = await make_token(rig)
    host = Host()
    envelope = enrol_envelope(token, host)
    _, body = await enrol(rig, envelope)
    enrolled = read(rig, body)
    await confirm(rig, host, 1, enrolled.renewal_secret)
    status, body = await enrol(rig, envelope)
    assert (status, body["code"]) == (409, "already_enrolled")
    assert (await renew(rig, host, 1, enrolled.renewal_secret))[0] == 200


async def test_wrong_secret_machine_or_generation_is_refused(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    wrong = b64(secrets.token_bytes(32))
    assert (await renew(rig, host, 1, wrong))[1]["code"] == "secret"
    assert (await renew(rig, host, 0, wrong))[1]["code"] == "secret"
    assert (await renew(rig, host, 7, enrolled.renewal_secret))[1]["code"] == "secret"
    assert (await renew(rig, host, 1, enrolled.renewal_secret, machine_id="0" * 64))[1][
        "code"
    ] == "machine_id"
    assert await rig.value("SELECT count(*) FROM access_generation") == 1


async def test_only_the_agents_own_signature_renews(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    assert (await renew(rig, host, 1, enrolled.renewal_secret, key=make_key()))[0] == 401
    assert (await renew(rig, host, 1, enrolled.renewal_secret, key=host.receipt_key))[0] == 401
    assert (await renew(rig, host, 1, enrolled.renewal_secret, tag=Tag.AGENT))[0] == 401
    stranger = Host()
    status, body = await renew(rig, stranger, 1, enrolled.renewal_secret)
    assert (status, body["code"]) == (401, "keyid")


async def test_revoked_agent_does_not_renew(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    await rig.rows("UPDATE agent SET state = 'revoked'")
    status, body = await renew(rig, host, 1, enrolled.renewal_secret)
    assert (status, body["code"]) == (403, "agent_revoked")


async def test_parallel_renewals_leave_one_generation_issued(rig: Rig, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    await confirm(rig, host, 1, enrolled.renewal_secret)
    answers = await asyncio.gather(*(renew(rig, host, 1, enrolled.renewal_secret) for _ in range(10)))
    assert {(status, body["gen"]) for status, body in answers} == {(200, 2)}
    confirmed = [await confirm(rig, host, 2, body["secret"]) for _, body in answers]
    assert sorted(status for status, _ in confirmed) == [200] + [403] * 9
