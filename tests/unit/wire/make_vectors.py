"""Write the known answers of the wire, from docs/protocol.md and PyNaCl alone: no RedFlag code takes part.

Run ``python tests/unit/wire/make_vectors.py`` after a deliberate change of the protocol and look at the difference.
"""

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import nacl.signing

HERE = Path(__file__).parent / "vectors" / "wire.json"
KINDS = ("command", "intent", "keys", "beacon", "enroll", "enrolled", "report")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def b32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def pae(kind: str, payload: bytes) -> bytes:
    name = kind.encode()
    return b" ".join([b"DSSEv1", str(len(name)).encode(), name, str(len(payload)).encode(), payload])


def key(number: int) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(sha256(b"redflag test key %d" % number))


def keys() -> list[dict[str, str]]:
    made = []
    for number in range(4):
        public = bytes(key(number).verify_key)
        jwk = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": b64url(public)}, separators=(",", ":"))
        made.append(
            {
                "seed": bytes(key(number)).hex(),
                "public": public.hex(),
                "keyid": "ed25519:" + sha256(public).hex(),
                "thumbprint": b64url(sha256(jwk.encode())),
                "key_file": f"redflag-key-v1 command {b64(bytes(key(number)))}\n",
            }
        )
    return made


def envelopes() -> list[dict[str, Any]]:
    payloads = [b"", b"{}", b"hello world", "Gr\u00fc\u00dfe \u2603".encode(), bytes(range(256))]
    made = []
    for number, name in enumerate(KINDS):
        kind = f"application/vnd.redflag.{name}.v1+json"
        payload = payloads[number % len(payloads)]
        signers = [key(0), key(1)] if name == "enroll" else [key(0)]
        signatures = [
            {
                "keyid": "ed25519:" + sha256(bytes(one.verify_key)).hex(),
                "sig": b64(one.sign(pae(kind, payload)).signature),
            }
            for one in signers
        ]
        wire = {"payload": b64(payload), "payloadType": kind, "signatures": signatures}
        made.append(
            {
                "type": kind,
                "payload": payload.hex(),
                "pae": pae(kind, payload).hex(),
                "digest": "sha256:" + sha256(payload).hex(),
                "wire": json.dumps(wire, separators=(",", ":")),
            }
        )
    return made


def request(tag: str) -> dict[str, str]:
    body = b'{"handles":[]}'
    parts = {
        "@method": "POST",
        "@target-uri": "https://redflag.example/agent/v1/commands/ack?x=1",
        "content-digest": f"sha-256=:{b64(sha256(body))}:",
        "content-type": "application/json",
        "authorization": "Bearer abc.def.ghi",
        "rf-nonce": "bm9uY2U",
    }
    if tag == "rf-renew-v1":
        del parts["authorization"]
    public = bytes(key(2).verify_key)
    jwk = '{"crv":"Ed25519","kty":"OKP","x":"' + b64url(public) + '"}'
    names = " ".join(f'"{name}"' for name in parts)
    params = (
        f'({names});created=1767225600;nonce="{b64(bytes(range(16)))}";keyid="{b64url(sha256(jwk.encode()))}"'
        f';alg="ed25519";tag="{tag}"'
    )
    base = "\n".join(
        [f'"{name}": {value}' for name, value in parts.items()] + [f'"@signature-params": {params}']
    )
    return {
        "tag": tag,
        "body": body.decode(),
        "base": base,
        "signature_input": f"rf={params}",
        "signature": f"rf=:{b64(key(2).sign(base.encode()).signature)}:",
    }


def vectors() -> dict[str, Any]:
    roots = sorted(bytes(key(number).verify_key).hex() for number in (0, 1, 2))
    fingerprint = sha256(("redflag-roots-v1\n2\n" + "".join(root + "\n" for root in roots)).encode())
    pairs = [(b"envelope one", b"body"), (b"envelope two", b"")]
    return {
        "keys": keys(),
        "envelopes": envelopes(),
        "requests": [request("rf-agent-v1"), request("rf-renew-v1")],
        "roots": {"threshold": 2, "keys": [0, 1, 2], "fingerprint": fingerprint.hex()},
        "token": {
            "id": "abcdefghij",
            "seed": bytes(key(3)).hex(),
            "fingerprint": fingerprint.hex(),
            "text": f"rfe1_abcdefghij_{b32(bytes(key(3)))}_{b32(fingerprint)}",
        },
        "frames": {
            "pairs": [[envelope.decode(), body.decode()] for envelope, body in pairs],
            "bytes": b"".join(struct.pack(">I", len(part)) + part for pair in pairs for part in pair).hex(),
        },
    }


def text() -> str:
    return json.dumps(vectors(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    HERE.write_text(text())
