"""An operator's word on updates, as it is typed and as it is answered."""

from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import Api, upgrade_plan


async def test_words_say_what_they_changed_and_when_there_was_nothing(api: Api, cli: CommandLine) -> None:
    agent = await api.add_host()
    nothing = await cli.run("updates", "approve", "web-04", "--all")
    assert "Nothing to approve on web-04." in nothing.err
    for name in ("alpha", "beta"):
        await api.add_update(agent, name)
    assert "1 rejected." in (await cli.run("updates", "reject", "web-04", "alpha")).err
    assert "1 ignored." in (await cli.run("updates", "ignore", "web-04", "beta")).err
    assert "Nothing to approve on web-04." in (await cli.run("updates", "approve", "web-04", "--all")).err
    assert "2 pending again." in (await cli.run("updates", "reset", "web-04", "--all")).err
    many = await cli.run("updates", "approve", "--package", "alpha", "--candidate", "2.0")
    assert "1 approved." in many.err
    await cli.run("updates", "approve", "--package", "alpha", expect=2)
    await cli.run("updates", "reject", "web-04", "alpha", "--all", expect=2)
    await cli.run("updates", "reject", "web-04", "--all", "--group", "x", expect=2)


async def test_history_rollback_and_modes_are_typed(api: Api, cli: CommandLine) -> None:
    agent = await api.add_host()
    await api.add_update(agent, "alpha")
    assert (await cli.run("updates", "history", "web-04")).out == ""
    await cli.run("updates", "rollback", "web-04", "alpha", expect=3)
    await cli.run("updates", "plan", "web-04", "alpha", "--full", expect=2)
    command = await cli.json("updates", "plan", "web-04", "--security")
    assert command["params"]["mode"] == "security"
    await cli.run("updates", "approve", "web-04", "alpha")
    digest = await api.add_plan(agent, upgrade_plan("alpha"))
    await api.call("POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=202)
    late = await cli.run("updates", "confirm", "web-04", expect=6)
    assert "being carried out already" in late.err
