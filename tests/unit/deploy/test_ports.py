import errno
import itertools

import pytest

from redflag.up.errors import PortTakenError, SettingError
from redflag.up.ports import PortBook


def book(kept: dict[str, int] | None = None, taken: tuple[int, ...] = ()) -> PortBook:
    numbers = itertools.count(50_000)
    return PortBook(kept or {}, free=lambda port: port not in taken, choose=lambda: next(numbers))


def outer(ports: PortBook, asked: int | None) -> int:
    return ports.outer("api", "API", "--api-port", asked, 7481)


def test_outer_port_is_the_default_on_the_first_run() -> None:
    assert outer(book(), None) == 7481


def test_outer_port_stays_over_a_restart_with_and_without_zero() -> None:
    assert outer(book({"api": 5000}), None) == 5000
    assert outer(book({"api": 5000}), 0) == 5000


def test_outer_port_asked_for_wins_over_the_kept_one() -> None:
    assert outer(book({"api": 5000}), 6000) == 6000


def test_outer_port_zero_takes_a_free_one_on_the_first_run() -> None:
    assert outer(book(), 0) == 50_000


def test_outer_port_in_use_names_the_option() -> None:
    with pytest.raises(PortTakenError, match=r"port 5000 for the API .* --api-port PORT"):
        outer(book({"api": 5000}, taken=(5000,)), None)


def test_two_outer_ports_cannot_be_the_same() -> None:
    ports = book()
    outer(ports, 6000)
    with pytest.raises(PortTakenError):
        ports.outer("gateway", "gateway", "--gateway-port", 6000, 7480)


@pytest.mark.parametrize("asked", [-1, 65536])
def test_outer_port_out_of_range_is_refused(asked: int) -> None:
    with pytest.raises(SettingError, match="--api-port"):
        outer(book(), asked)


def test_outer_port_without_the_right_to_it_is_one_clear_line() -> None:
    def denied(_port: int) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(SettingError, match=r"port 80 .* Permission denied"):
        PortBook({}, free=denied).outer("api", "API", "--api-port", 80, 7481)


def test_an_address_of_another_machine_is_no_matter_of_the_port() -> None:
    def elsewhere(_port: int) -> bool:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    for part, option in (("api", "--api-listen"), ("gateway", " --listen")):
        with pytest.raises(SettingError, match=f"give.*{option} one of its own"):
            PortBook({}, free=elsewhere).outer(part, part, f"--{part}-port", 0, 7480)


def test_inner_port_moves_when_somebody_else_has_it() -> None:
    assert book({"nats": 5000}).inner("nats") == 5000
    assert book({"nats": 5000}, taken=(5000,)).inner("nats") == 50_000


def test_fresh_ports_are_never_given_twice() -> None:
    numbers = iter([50_000, 50_000, 50_001])
    ports = PortBook({}, free=lambda _port: True, choose=lambda: next(numbers))
    assert [ports.inner("nats"), ports.inner("postgres")] == [50_000, 50_001]
