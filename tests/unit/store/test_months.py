import pytest

from redflag_store.months import is_month_table


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("update_event_2026_11", True),
        ("update_event_default", True),
        ("update_event", False),
        ("update_event_notes", False),
        ("x_update_event_2026_11", False),
    ],
)
def test_month_table_is_told_by_its_name(name: str, expected: bool) -> None:
    assert is_month_table(name) is expected
