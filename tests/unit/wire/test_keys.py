"""E11: small-order keys, wrong lengths, malleable signatures; key files."""

import pytest

from redflag_wire import base64_strict
from redflag_wire.errors import KeyRefusedError, SignatureRefusedError
from redflag_wire.keys import SMALL_ORDER_KEYS, PublicKey
from redflag_wire.payload_types import SignerRole
from redflag_wire.signing import SigningKey
from tests.unit.wire.samples import counting_random, key

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
SIGNING = key("signs")
MESSAGE = b"message"


def spelled(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def on_curve_order_divides_8(y: int) -> bool:
    """Say whether a point with this y has an order dividing 8, with the curve's own arithmetic."""
    d = -121665 * pow(121666, -1, P) % P
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P:
        return False
    for _ in range(3):
        bottom = d * x * x * y * y % P
        x, y = 2 * x * y * pow(1 + bottom, -1, P) % P, (y * y + x * x) * pow(1 - bottom, -1, P) % P
    return (x, y) == (0, 1)


def test_the_list_holds_eight_points_of_small_order() -> None:
    assert len(SMALL_ORDER_KEYS) == 8
    for raw in SMALL_ORDER_KEYS:
        assert on_curve_order_divides_8(int.from_bytes(raw, "little") & ((1 << 255) - 1))
    assert not on_curve_order_divides_8(int.from_bytes(SIGNING.public.raw, "little") & ((1 << 255) - 1))


@pytest.mark.parametrize("raw", sorted(SMALL_ORDER_KEYS), ids=bytes.hex)
def test_small_order_key_is_refused(raw: bytes) -> None:
    for spelling in (raw, raw[:31] + bytes([raw[31] | 0x80]), raw[:31] + bytes([raw[31] & 0x7F])):
        with pytest.raises(KeyRefusedError, match="small_order_key"):
            PublicKey(spelling)
        with pytest.raises(KeyRefusedError, match="small_order_key"):
            PublicKey.from_b64(base64_strict.encode(spelling))


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [P, P + 1, P + 2, 2**255 - 1])
def test_coordinate_beyond_the_field_is_refused(y: int, sign: int) -> None:
    with pytest.raises(KeyRefusedError, match="key_not_canonical"):
        PublicKey(spelled(y, sign))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_key_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(KeyRefusedError, match="key_length"):
        PublicKey(bytes(range(7, 7 + length)))


@pytest.mark.parametrize(
    "text", ["", "AAAA", "not base64", SIGNING.public.to_b64() + "\n", SIGNING.public.to_b64()[:-1]]
)
def test_key_text_is_strict(text: str) -> None:
    with pytest.raises(KeyRefusedError):
        PublicKey.from_b64(text)


def test_signature_verifies_and_round_trips() -> None:
    public = PublicKey.from_b64(SIGNING.public.to_b64())
    assert public == SIGNING.public
    assert hash(public) == hash(SIGNING.public)
    public.verify(MESSAGE, SIGNING.sign(MESSAGE))


def test_malleable_signature_is_refused() -> None:
    signature = SIGNING.sign(MESSAGE)
    scalar = int.from_bytes(signature[32:], "little")
    for forged in (scalar + ORDER, scalar + 2 * ORDER):
        with pytest.raises(SignatureRefusedError, match="signature"):
            SIGNING.public.verify(MESSAGE, signature[:32] + forged.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_signature_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(SignatureRefusedError, match="signature_length"):
        SIGNING.public.verify(MESSAGE, (SIGNING.sign(MESSAGE) * 2)[:length])


def test_signature_does_not_fit_another_message_or_key() -> None:
    with pytest.raises(SignatureRefusedError, match="does not fit"):
        SIGNING.public.verify(b"other", SIGNING.sign(MESSAGE))
    with pytest.raises(SignatureRefusedError, match="does not fit"):
        key("other").public.verify(MESSAGE, SIGNING.sign(MESSAGE))


@pytest.mark.parametrize("use", SignerRole)
def test_key_file_is_read_for_its_own_use_only(use: SignerRole) -> None:
    text = SIGNING.to_text(use)
    assert text.count("\n") == 1
    for wanted in SignerRole:
        if wanted is use:
            assert SigningKey.from_text(text, wanted) == SIGNING
        else:
            with pytest.raises(KeyRefusedError, match="key_use"):
                SigningKey.from_text(text, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redflag-key-v1 root",
        "redflag-key-v2 root " + base64_strict.encode(bytes(32)),
        "redflag-key-v1 root " + base64_strict.encode(bytes(31)),
        "redflag-key-v1  root " + base64_strict.encode(bytes(32)),
        "redflag-key-v1 root " + base64_strict.encode(bytes(32)) + "\n\n",
        "redflag-key-v1 root " + base64_strict.encode(bytes(32)) + " #",
        "redflag-key-v1 root " + "!" * 44,
        "redflag-key-v1 root " + "A" * 300,
    ],
)
def test_malformed_key_file_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeyRefusedError) as refused:
        SigningKey.from_text(text, "root")
    assert "AAAAAAAA" not in str(refused.value)


def test_generated_key_uses_the_given_randomness_and_hides_its_seed() -> None:
    made = SigningKey.generate(counting_random())
    assert made == SigningKey.generate(counting_random())
    assert made.seed.hex() not in repr(made)
    assert base64_strict.encode(made.seed) not in repr(made)
