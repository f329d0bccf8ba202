"""Which hosts are meant: one filter for lists, exports, and everything done to many hosts at once.

Guarantees: every text is a parameter and no pattern of ours; a walk down the tree ends, however the tree looks.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, false, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.like import contains
from redflag_store.states import AgentState
from redflag_store.tables import Agent, AgentGroupMember
from redflag_wire.agent_version import is_below

TREE_DEPTH_MAX: Final = 16  # hosts from a root to its deepest guest; deeper nesting is refused
IDS_MAX: Final = 4_000  # hosts named one by one in a filter


@dataclass(frozen=True, slots=True)
class HostFilter:
    """What hosts are meant; None and an empty tuple mean no filter, and all that is given must hold.

    Attributes:
        ids: these hosts, at most `IDS_MAX`; an empty tuple stands for no host.
        group: members of this group.
        tags: hosts that have each of these tags: name, and its value or None for any.
        under: this host and everything below it in the tree.
        os: text that the operating system's id, name or version contains, in any case.
        state: standing of the host.
        text: text that the name or operating system contains, in any case.
        version_below: hosts whose agent is older than this version; one that never said what it runs is.
        reboot_required: whether it waits for a restart.
    """

    ids: tuple[UUID, ...] | None = None
    group: UUID | None = None
    tags: tuple[tuple[str, str | None], ...] = ()
    under: UUID | None = None
    os: str | None = None
    state: AgentState | str | None = None
    text: str | None = None
    version_below: str | None = None
    reboot_required: bool | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every host is meant."""
        return self == HostFilter()


async def conditions(session: AsyncSession, wanted: HostFilter) -> list[ColumnElement[bool]]:
    """The conditions on `Agent` that a filter stands for; none for the empty one.

    Raises:
        ValueError: more than `IDS_MAX` hosts are named.
    """
    found: list[ColumnElement[bool]] = []
    if wanted.ids is not None:
        if len(wanted.ids) > IDS_MAX:
            raise ValueError(f"at most {IDS_MAX} hosts are named one by one")
        found.append(col(Agent.id).in_(wanted.ids) if wanted.ids else false())
    if wanted.group is not None:
        members = select(col(AgentGroupMember.agent_id)).where(col(AgentGroupMember.group_id) == wanted.group)
        found.append(col(Agent.id).in_(members))
    for name, value in wanted.tags:
        tags = col(Agent.tags)
        found.append(tags.op("?")(name) if value is None else tags.contains({name: value}))
    if wanted.under is not None:
        found.append(col(Agent.id).in_(_subtree(wanted.under)))
    if wanted.os:
        columns = (Agent.os_id, Agent.os_name, Agent.os_version)
        found.append(or_(*(contains(col(one), wanted.os) for one in columns)))
    if wanted.state is not None:
        found.append(col(Agent.state) == str(wanted.state))
    if wanted.text:
        columns = (Agent.hostname, Agent.os_name, Agent.os_version)
        found.append(or_(*(contains(col(one), wanted.text) for one in columns)))
    if wanted.version_below is not None:
        found.append(await _older(session, wanted.version_below))
    if wanted.reboot_required is not None:
        found.append(col(Agent.reboot_required).is_(wanted.reboot_required))
    return found


def _subtree(root: UUID) -> ScalarSelect[Any]:
    depth: ColumnElement[int] = literal(0).label("depth")
    tree = select(col(Agent.id), depth).where(col(Agent.id) == root).cte("tree", recursive=True)
    below = select(col(Agent.id), tree.c.depth + 1).where(
        col(Agent.parent_id) == tree.c.id, tree.c.depth < TREE_DEPTH_MAX
    )
    return select(tree.union_all(below).c.id).scalar_subquery()


async def _older(session: AsyncSession, version: str) -> ColumnElement[bool]:
    # Versions are compared in one place, in Python; hosts share few of them.
    said = (await session.scalars(select(col(Agent.agent_version)).distinct())).all()
    older = [one for one in said if one is not None and is_below(one, version)]
    return or_(col(Agent.agent_version).is_(None), col(Agent.agent_version).in_(older))
