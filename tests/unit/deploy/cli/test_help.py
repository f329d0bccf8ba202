"""The command line's help: the lists are short, and each command's own page says everything."""

import pytest
from cyclopts import App

from redflag.cli.app import register


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    app = App(name="redflag", result_action="return_value")
    register(app, arguments)
    app([*arguments, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_a_commands_own_page_says_all_its_docstring_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Whether a host may be restarted is its own policy" in helped(capsys, "reboot")
    assert "without an option, say whether it does" in helped(capsys, "fast")
    assert "a script ends with exit code 6" in helped(capsys, "updates", "install")
    assert "The versions are those RedFlag replaced there" in helped(capsys, "updates", "rollback")
    assert "a guest on its node" in helped(capsys, "hosts", "parent")


def test_the_lists_name_each_command_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    whole = helped(capsys)
    assert "Restart a host, or many." in whole
    assert "its own policy" not in whole
    assert "its own policy" not in helped(capsys, "updates")
