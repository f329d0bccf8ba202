"""What holds for a host's subsystem, and which subsystems a host has."""

from hypothesis import given
from hypothesis import strategies as st

from redflag_store.subsystem_rules import (
    BOUNDS,
    BUILT_IN_SOURCE,
    FIELDS,
    MANAGERS_MAX,
    Layer,
    built_in,
    in_force,
    names_of,
)


def layer(source: str, priority: int = 0, **values: int | bool) -> Layer:
    return Layer(source, values, priority)


def test_the_host_wins_over_groups_over_the_fleet_over_the_built_in() -> None:
    found = in_force(
        "apt",
        host=layer("host", interval_s=60),
        groups=[layer("group:web", interval_s=120, timeout_s=20)],
        fleet=layer("fleet", interval_s=180, timeout_s=30, auto_run=False),
    )
    assert (found.values.interval_s, found.values.timeout_s, found.values.auto_run) == (60, 20, False)
    assert found.values.enabled is True
    assert found.sources["interval_s"] == "host"
    assert found.sources["timeout_s"] == "group:web"
    assert found.sources["auto_run"] == "fleet"
    assert found.sources["enabled"] == BUILT_IN_SOURCE


def test_of_groups_the_highest_priority_wins_then_the_first_name() -> None:
    web, low = layer("group:web", 5, interval_s=61), layer("group:all", 1, interval_s=62)
    apple = layer("group:apple", 5, interval_s=63)
    assert in_force("apt", host=None, groups=[low, web], fleet=None).values.interval_s == 61
    assert in_force("apt", host=None, groups=[web, apple, low], fleet=None).values.interval_s == 63


def test_false_is_a_value_and_none_is_not() -> None:
    host = Layer("host", {"enabled": False, "auto_run": None})
    found = in_force("apt", host=host, groups=[], fleet=layer("fleet", enabled=True, auto_run=False))
    assert (found.values.enabled, found.values.auto_run) == (False, False)
    assert found.sources["auto_run"] == "fleet"
    assert not found.values.runs


@given(st.sampled_from(["apt", "system", "storage", "x"]))
def test_built_in_values_lie_within_the_bounds(name: str) -> None:
    for field, (least, most) in BOUNDS.items():
        assert least <= getattr(built_in(name), field) <= most


@given(
    st.lists(
        st.builds(
            Layer,
            st.sampled_from(["group:a", "group:b", "group:c"]),
            st.dictionaries(st.sampled_from(FIELDS), st.one_of(st.none(), st.integers(60, 86_400))),
            st.integers(0, 3),
        ),
        max_size=5,
        unique_by=lambda one: one.source,
    )
)
def test_every_value_has_the_source_it_came_from(groups: list[Layer]) -> None:
    found = in_force("apt", host=None, groups=groups, fleet=None)
    by_source = {one.source: one for one in groups}
    for field in FIELDS:
        source = found.sources[field]
        expected = (
            getattr(built_in("apt"), field) if source == BUILT_IN_SOURCE else by_source[source].values[field]
        )
        assert getattr(found.values, field) == expected
    assert in_force("apt", host=None, groups=groups[::-1], fleet=None) == found


def test_a_host_has_its_managers_and_what_every_host_has() -> None:
    assert names_of([{"manager": "apt"}, {"manager": "snap"}]) == ["apt", "snap", "storage", "system"]
    assert names_of([]) == ["storage", "system"]


def test_what_a_host_names_is_bounded_and_nonsense_is_left_out() -> None:
    assert names_of([{"manager": 7}, "apt", {"manager": ""}, {}, {"manager": "all"}]) == ["storage", "system"]
    assert len(names_of([{"manager": f"m{n}"} for n in range(1000)])) == MANAGERS_MAX + 2
