import subprocess
import sys

import pytest

from redflag import main as command


@pytest.mark.parametrize(("error", "code"), [(ValueError("first\nsecond"), 1), (KeyboardInterrupt(), 130)])
def test_no_stack_reaches_a_person(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(command, "app", broken)
    monkeypatch.setattr(sys, "argv", ["redflag", "up"])
    with pytest.raises(SystemExit) as raised:
        command.main()
    assert raised.value.code == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 1


def test_up_help_loads_neither_the_database_nor_the_command_line() -> None:
    code = (
        "import sys; sys.argv = ['redflag', 'up', '--help']\n"
        "from redflag.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'sqlmodel', 'sqlalchemy', 'nats', 'aiohttp', 'pydantic'}),"
        " any(name.startswith('redflag.cli') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] False"


@pytest.mark.parametrize("arguments", [[], ["hosts"], ["updates"], ["broker"]])
def test_a_line_without_a_command_is_wrong_use_and_shows_the_usage(arguments: list[str]) -> None:
    code = "from redflag.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert " ".join(("Usage: redflag", *arguments)) in done.stderr
