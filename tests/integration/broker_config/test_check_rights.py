"""What the server says its users may do is compared with the definition, in both directions."""

from nats.aio.client import Client

from redflag_broker_config.check_rights import check_rights, compare_rights
from redflag_broker_config.compare import Difference
from redflag_broker_config.permissions import Permissions, Service


async def test_rights_as_defined_pass(dispatcher: Client, gateway: Client) -> None:
    assert await check_rights(dispatcher, Service.DISPATCHER) == []
    assert await check_rights(gateway, Service.GATEWAY) == []


async def test_credentials_that_may_more_are_told(dispatcher: Client) -> None:
    found = await check_rights(dispatcher, Service.GATEWAY)
    assert Difference("rights of gateway", "publish", "not allowed", ">") in found
    assert Difference("rights of gateway", "publish", "rf.up.>", "not allowed") in found


def test_no_list_means_everything_and_another_account_is_told() -> None:
    expected = Permissions(publish=("rf.up.>",), subscribe=("rf.wake.*",))
    told = {"account": "OTHER", "permissions": {"subscribe": {"allow": ["rf.wake.*"]}}}
    assert compare_rights(Service.GATEWAY, expected, told) == [
        Difference("rights of gateway", "account", "RF", "OTHER"),
        Difference("rights of gateway", "publish", "not allowed", ">"),
        Difference("rights of gateway", "publish", "rf.up.>", "not allowed"),
    ]
