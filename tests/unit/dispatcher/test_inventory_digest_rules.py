from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from redflag_dispatcher.inventory_digest_rules import (
    ASK_AGAIN,
    ASK_FOR_REFUSED,
    Take,
    after,
    asks_for_whole,
    judge,
)
from redflag_dispatcher.report_body import ListedInventory
from redflag_store.queries.held_inventories import Held
from redflag_wire.limits import UPDATES_MAX

AGENT = UUID(int=1)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
HELD = Held(AGENT, "apt", "one", "one", 0, 7, 60, BEFORE, BEFORE, None)
PARTIAL = replace(HELD, digest=None, host_digest="one", refused_rows=2)
ROW: Any = object()


def sent(digest: str | None, base: str | None = None, **changes: Any) -> ListedInventory:
    return ListedInventory(
        **{
            "manager": "apt", "source_age_s": 5, "reboot_required": False, "rows": [], "bad": [], "problems": [],
            "digest": digest, "base": base, **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "inventory", "take"),
    [
        (None, sent("one"), Take.WHOLE),
        (None, sent("two", "one"), Take.NOTHING),
        (HELD, sent("one"), Take.UNCHANGED),
        (HELD, sent("one", bad=["row 1"]), Take.WHOLE),
        (HELD, sent("two"), Take.WHOLE),
        (HELD, sent(None), Take.WHOLE),
        (replace(HELD, digest=None, host_digest=None), sent(None), Take.WHOLE),
        (HELD, sent("one", "one"), Take.UNCHANGED),
        (HELD, sent("one", "one", gone=[("a", "all")]), Take.CHANGES),
        (HELD, sent("two", "one"), Take.CHANGES),
        (HELD, sent("three", "two"), Take.NOTHING),
        (replace(HELD, rows=UPDATES_MAX - 1), sent("two", "one", rows=[ROW]), Take.CHANGES),
        (replace(HELD, rows=UPDATES_MAX), sent("two", "one", rows=[ROW]), Take.NOTHING),
        (PARTIAL, sent("one"), Take.WHOLE),
        (PARTIAL, sent("two", "one", rows=[ROW]), Take.CHANGES),
    ],
)
def test_what_is_done_with_an_inventory(held: Held | None, inventory: ListedInventory, take: Take) -> None:
    assert judge(held, inventory) is take


def test_what_does_not_fit_changes_nothing_that_is_held() -> None:
    assert after(AGENT, HELD, sent("three", "two"), Take.NOTHING, added=0, at=NOW) is None


def test_unchanged_moves_the_look_only() -> None:
    wanted = replace(HELD, looked_at=NOW, source_age_s=5)
    assert after(AGENT, HELD, sent("one"), Take.UNCHANGED, added=0, at=NOW) == wanted


def test_refused_rows_keep_the_digest_from_being_that_of_what_is_stored() -> None:
    whole = after(AGENT, None, sent("two", rows=[ROW], bad=["row 1"]), Take.WHOLE, added=0, at=NOW)
    assert whole is not None
    assert (whole.digest, whole.host_digest, whole.refused_rows, whole.rows) == (None, "two", 1, 1)
    grown = after(AGENT, whole, sent("three", "two", rows=[ROW]), Take.CHANGES, added=1, at=NOW)
    assert grown is not None
    assert (grown.digest, grown.host_digest, grown.refused_rows, grown.rows) == (None, "three", 1, 2)
    mended = after(AGENT, grown, sent("four", rows=[ROW, ROW]), Take.WHOLE, added=0, at=NOW)
    assert mended is not None
    assert (mended.digest, mended.refused_rows) == ("four", 0)


def test_the_whole_is_asked_for_now_and_then_never_for_ever() -> None:
    assert asks_for_whole(None, Take.NOTHING, at=NOW)
    assert not asks_for_whole(replace(HELD, asked_at=NOW), Take.NOTHING, at=NOW + ASK_AGAIN / 2)
    assert asks_for_whole(replace(HELD, asked_at=NOW), Take.NOTHING, at=NOW + ASK_AGAIN)
    assert not asks_for_whole(HELD, Take.UNCHANGED, at=NOW + 10 * ASK_FOR_REFUSED)
    assert not asks_for_whole(PARTIAL, Take.UNCHANGED, at=BEFORE + ASK_FOR_REFUSED / 2)
    assert asks_for_whole(PARTIAL, Take.UNCHANGED, at=BEFORE + ASK_FOR_REFUSED)
    assert not asks_for_whole(PARTIAL, Take.WHOLE, at=BEFORE + ASK_FOR_REFUSED)
    assert not asks_for_whole(replace(PARTIAL, asked_at=NOW), Take.CHANGES, at=NOW + ASK_FOR_REFUSED / 2)
