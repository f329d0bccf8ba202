from redflag.up.restart_policy import FIRST_DELAY_S, LONGEST_DELAY_S, QUICK_DEATHS, WINDOW_S, RestartPolicy


def test_delays_grow_and_the_last_quick_death_ends_it() -> None:
    policy = RestartPolicy(lambda: 1.0)
    delays = [policy.died(float(number)) for number in range(QUICK_DEATHS)]
    assert delays == [FIRST_DELAY_S, FIRST_DELAY_S * 2, FIRST_DELAY_S * 4, FIRST_DELAY_S * 8, None]


def test_jitter_stays_between_half_and_the_whole_delay() -> None:
    assert RestartPolicy(lambda: 0.0).died(0.0) == FIRST_DELAY_S / 2
    assert RestartPolicy(lambda: 1.0).died(0.0) == FIRST_DELAY_S


def test_deaths_far_apart_are_forgiven_for_ever() -> None:
    policy = RestartPolicy(lambda: 1.0)
    for number in range(100):
        assert policy.died(number * (WINDOW_S / (QUICK_DEATHS - 2))) is not None


def test_delay_is_bounded() -> None:
    policy = RestartPolicy(lambda: 1.0)
    delays = [policy.died(number * WINDOW_S / 3.5) for number in range(20)]
    assert all(delay is not None and delay <= LONGEST_DELAY_S for delay in delays)
