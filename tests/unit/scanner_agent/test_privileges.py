import os
import pwd
from pathlib import Path

import pytest

from redflag_ops.errors import ConfigurationError
from redflag_scanner_agent.privileges import account_for, hand_over

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def somebody(name: str, number: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", number, number, "", "/", "/bin/false"))


def test_usual_accounts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"nobody": somebody("nobody", NOBODY)}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    assert account_for(None).pw_name == "nobody"
    known["redflag-agent"] = somebody("redflag-agent", 990)
    assert account_for(None).pw_name == "redflag-agent"
    assert account_for("nobody").pw_name == "nobody"


@pytest.mark.parametrize("name", ["root", "no-such-account"])
def test_root_or_nobody_at_all_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="REDFLAG_AGENT_ACCOUNT"):
        account_for(name)


@needs_root
def test_only_plain_files_of_one_name_are_handed_over(tmp_path: Path) -> None:
    net, theirs = tmp_path / "net", tmp_path / "theirs"
    net.mkdir()
    theirs.write_text("")
    (net / "own").write_text("")
    (net / "link").symlink_to(theirs)
    (net / "second-name").hardlink_to(theirs)
    os.mkfifo(net / "pipe")
    hand_over(net, somebody("nobody", NOBODY))
    assert net.stat().st_uid == (net / "own").stat().st_uid == NOBODY
    assert theirs.stat().st_uid == 0
    assert (net / "pipe").stat().st_uid == 0
