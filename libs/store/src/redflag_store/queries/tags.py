"""What operators say about a host: its tags, and the host it runs on.

Guarantees: tags are changed under the lock of the host's row, so two changes at once are both there afterwards;
places in the tree are changed one at a time in the whole fleet, so no two changes that are each good make a circle
together. The signed intent behind a change is stored by the caller in the same transaction.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Integer, cast, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.errors import StoreError
from redflag_store.queries.host_filter import TREE_DEPTH_MAX
from redflag_store.tables import Agent

TAGS_MAX: Final = 64  # tags of one host
_TREE_KEY: Final = 0x52_46_54_52  # "RFTR"


class TooManyTagsError(StoreError):
    """The host would have more than `TAGS_MAX` tags; `count` is how many."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} tags, at most {TAGS_MAX} are allowed")
        self.count = count


class TreeCycleError(StoreError):
    """The host that is to be above is below already, or the same."""

    def __init__(self) -> None:
        super().__init__("the host would run on itself")


class TreeTooDeepError(StoreError):
    """More than `TREE_DEPTH_MAX` hosts would stand one on another; `depth` is how many."""

    def __init__(self, depth: int) -> None:
        super().__init__(f"{depth} hosts one on another, at most {TREE_DEPTH_MAX} are allowed")
        self.depth = depth


async def change_tags(
    session: AsyncSession, agent_id: UUID, *, put: Mapping[str, str], remove: Collection[str]
) -> dict[str, Any]:
    """Set and remove tags of a host; return those it has now. What is removed and set is set.

    Raises:
        TooManyTagsError: there would be too many.
    """
    held = await session.scalar(
        select(col(Agent.tags)).where(col(Agent.id) == agent_id).with_for_update(key_share=True)
    )
    tags = {name: value for name, value in (held or {}).items() if name not in remove} | dict(put)
    if len(tags) > TAGS_MAX and len(tags) > len(held or {}):
        raise TooManyTagsError(len(tags))
    await session.execute(update(Agent).where(col(Agent.id) == agent_id).values(tags=tags))
    return tags


async def set_parent(session: AsyncSession, agent_id: UUID, parent_id: UUID | None) -> None:
    """Say on which host a host runs, or that it runs on none.

    Raises:
        TreeCycleError: the host above is the same one, or runs on it.
        TreeTooDeepError: they would be nested too deep.
    """
    await session.execute(select(func.pg_advisory_xact_lock(_TREE_KEY)))
    if parent_id is not None:
        above = await _above(session, parent_id)
        if agent_id in above:
            raise TreeCycleError
        depth = len(above) + await _height(session, agent_id)
        if depth > TREE_DEPTH_MAX:
            raise TreeTooDeepError(depth)
    await session.execute(update(Agent).where(col(Agent.id) == agent_id).values(parent_id=parent_id))


async def _above(session: AsyncSession, agent_id: UUID) -> list[UUID]:
    """The host itself and those it runs on, from the inside out."""
    tree = (
        select(col(Agent.id), col(Agent.parent_id), cast(literal(1), Integer).label("depth"))
        .where(col(Agent.id) == agent_id)
        .cte("above", recursive=True)
    )
    further = select(col(Agent.id), col(Agent.parent_id), tree.c.depth + 1).where(
        col(Agent.id) == tree.c.parent_id, tree.c.depth <= TREE_DEPTH_MAX
    )
    whole = tree.union_all(further)
    return list((await session.scalars(select(whole.c.id).order_by(whole.c.depth))).all())


async def _height(session: AsyncSession, agent_id: UUID) -> int:
    """How many hosts stand one on another below this one, itself included."""
    tree = (
        select(col(Agent.id), cast(literal(1), Integer).label("depth"))
        .where(col(Agent.id) == agent_id)
        .cte("below", recursive=True)
    )
    further = select(col(Agent.id), tree.c.depth + 1).where(
        col(Agent.parent_id) == tree.c.id, tree.c.depth <= TREE_DEPTH_MAX
    )
    whole = tree.union_all(further)
    return await session.scalar(select(func.max(whole.c.depth))) or 1
