from redflag.up.options import External, child_environment

OURS = {
    "PATH": "/bin",
    "REDFLAG_DATABASE_URL": "postgresql://owner",
    "REDFLAG_DISPATCHER_BEACON_S": "5",
    "REDFLAG_AGENT_APT_CONFIG": "/etc/apt.conf",
    "REDFLAG_OPS_TOKEN_FILE": "/token",
    "SOMEBODYS_SECRET": "x",
}


def test_child_sees_its_own_settings_and_no_other() -> None:
    assert child_environment(OURS, "dispatcher") == {
        "PATH": "/bin",
        "REDFLAG_DISPATCHER_BEACON_S": "5",
        "REDFLAG_OPS_TOKEN_FILE": "/token",
    }
    assert child_environment(OURS, "agent")["REDFLAG_AGENT_APT_CONFIG"] == "/etc/apt.conf"


def test_owner_url_reaches_no_child() -> None:
    for program in ("dispatcher", "gateway", "dashboard", "agent"):
        assert "REDFLAG_DATABASE_URL" not in child_environment(OURS, program)


def test_empty_setting_counts_as_not_set() -> None:
    assert External.from_environment({"REDFLAG_DATABASE_URL": "", "REDFLAG_NATS_URL": ""}) == External()
    assert External.from_environment(OURS).database_url == "postgresql://owner"
