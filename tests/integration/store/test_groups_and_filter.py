"""Groups, and the filter that says which hosts are meant."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.queries.groups import (
    GroupExistsError,
    add_hosts,
    change_group,
    create_group,
    delete_group,
    find_group,
    groups_of,
    list_groups,
    remove_hosts,
)
from redflag_store.queries.host_filter import IDS_MAX, HostFilter, conditions
from redflag_store.queries.hosts import list_hosts
from redflag_store.tables import AgentGroup
from redflag_wire.ids import new_id
from tests.integration.store.rows import CLOCK, agent_row, opened
from tests.support.postgres import DatabaseUrl


def group_row(name: str) -> AgentGroup:
    return AgentGroup(id=new_id(CLOCK), name=name, created_at=CLOCK.now(), created_by="admin")


async def names(session: AsyncSession, wanted: HostFilter) -> list[str]:
    page = await list_hosts(session, wanted, after=None, limit=100)
    assert page.total == len(page.rows)
    return [row.agent.hostname for row in page.rows]


async def test_each_condition_of_the_filter_holds(database: DatabaseUrl) -> None:
    rows = {name: agent_row(hostname=name) for name in ("node", "guest", "inner", "other")}
    rows["guest"].parent_id = rows["node"].id
    rows["inner"].parent_id = rows["guest"].id
    rows["node"].agent_version, rows["guest"].agent_version = "1.9.0", "v1.10"
    rows["inner"].agent_version = "dev"
    rows["guest"].tags = {"env": "prod", 'it\'s "odd" %': "x"}
    rows["other"].tags = {"env": "test"}
    rows["other"].os_id, rows["other"].state = "fedora", "pending"
    rows["node"].reboot_required = True
    async with opened(database) as make:
        async with make.begin() as session:
            for row in rows.values():
                session.add(row)
                await session.flush()
        group = group_row("web")
        async with make.begin() as session:
            await create_group(session, group)
            await add_hosts(session, group.id, [rows["node"].id], by="admin", at=CLOCK.now())
        async with make() as session:
            for wanted, expected in (
                (HostFilter(), ["guest", "inner", "node", "other"]),
                (HostFilter(group=group.id), ["node"]),
                (HostFilter(tags=(("env", None),)), ["guest", "other"]),
                (HostFilter(tags=(("env", "prod"),)), ["guest"]),
                (HostFilter(tags=(("env", "prod"), ('it\'s "odd" %', "x"))), ["guest"]),
                (HostFilter(tags=(("env", "prod"), ("none", None))), []),
                (HostFilter(under=rows["node"].id), ["guest", "inner", "node"]),
                (HostFilter(under=rows["guest"].id), ["guest", "inner"]),
                (HostFilter(os="FEDORA"), ["other"]),
                (HostFilter(state="pending"), ["other"]),
                (HostFilter(text="NOD"), ["node"]),
                (HostFilter(version_below="1.10.0"), ["inner", "node", "other"]),
                (HostFilter(reboot_required=True), ["node"]),
                (HostFilter(ids=(rows["node"].id, rows["inner"].id)), ["inner", "node"]),
                (HostFilter(ids=()), []),
            ):
                assert await names(session, wanted) == expected, wanted
            with pytest.raises(ValueError, match="at most"):
                await conditions(session, HostFilter(ids=(rows["node"].id,) * (IDS_MAX + 1)))


async def test_a_walk_down_a_tree_that_bites_its_tail_ends(database: DatabaseUrl) -> None:
    one, two = agent_row(hostname="one"), agent_row(hostname="two")
    async with opened(database) as make:
        async with make.begin() as session:
            session.add_all([one, two])
            await session.flush()
            one.parent_id, two.parent_id = two.id, one.id
        async with make() as session:
            assert await names(session, HostFilter(under=one.id)) == ["one", "two"]


async def test_a_group_is_made_changed_and_deleted(database: DatabaseUrl) -> None:
    agents = [agent_row(hostname=f"h{n}") for n in range(3)]
    async with opened(database) as make:
        web, data = group_row("web"), group_row("Data")
        async with make.begin() as session:
            session.add_all(agents)
            await create_group(session, web)
            await create_group(session, data)
        ids = [agent.id for agent in agents]
        async with make.begin() as session:
            assert await add_hosts(session, web.id, ids, by="admin", at=CLOCK.now()) == 3
            assert await add_hosts(session, web.id, ids[:1], by="admin", at=CLOCK.now()) == 0
            assert await add_hosts(session, data.id, ids[:1], by="admin", at=CLOCK.now()) == 1
            assert await remove_hosts(session, web.id, [ids[2]]) == 1
            assert await remove_hosts(session, web.id, [ids[2]]) == 0
        async with make() as session:
            page = await list_groups(session, q=None, after=None, limit=1)
            assert ([row.group.name for row in page.rows], page.total, page.more) == (["Data"], 2, True)
            found = await groups_of(session, ids)
            assert [[one.name for one in found[agent]] for agent in ids] == [["Data", "web"], ["web"], []]
            by_name = await find_group(session, "WEB")
            assert by_name is not None
            assert (by_name.group.id, by_name.hosts) == (web.id, 2)
            assert await find_group(session, str(data.id)) is not None
            assert await find_group(session, "none") is None
        with pytest.raises(GroupExistsError):
            async with make.begin() as session:
                await change_group(session, data.id, name="WEB")
        async with make.begin() as session:
            await change_group(session, data.id, name="data", description="databases")
            await delete_group(session, web.id)
        async with make() as session:
            assert await find_group(session, "web") is None
            assert [one.name for one in (await groups_of(session, ids))[ids[0]]] == ["data"]


async def test_one_of_two_groups_of_one_name_is_refused(database: DatabaseUrl) -> None:
    async with opened(database) as make:

        async def make_one(name: str) -> UUID | None:
            row = group_row(name)
            try:
                async with make.begin() as session:
                    await create_group(session, row)
            except GroupExistsError:
                return None
            return row.id

        made = await asyncio.gather(*(make_one(name) for name in ("Web", "web", "WEB", "weB")))
        assert sum(one is not None for one in made) == 1
