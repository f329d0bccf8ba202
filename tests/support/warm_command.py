"""The `redflag` command in a process of its own, without the second that loading it takes.

One server process has loaded everything and forks for each call. A call is still a process with its own arguments,
environment, streams, signals and exit code: `argv()` starts a small one that hands its streams over, passes signals on
and ends as the command does. That the installed script loads what it needs is shown by `tests/unit/deploy/test_main.py`
and by the acceptance tests.
"""

import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from tests.support.directories import open_directory

# Loads nothing but what it needs: about 20 ms.
_CALLER = """
import array, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX); link.connect(sys.argv[1])
import json
call = json.dumps([sys.argv[2:], dict(os.environ), os.getcwd()]).encode()
link.sendmsg([len(call).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
link.sendall(call)
pid = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, lambda number, _: os.kill(pid, number))
os.close(0); os.close(1); os.close(2)
os._exit(int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big"))
"""


def argv(address: Path) -> list[str]:
    """What to start in the place of the installed script; the command's arguments follow."""
    return [sys.executable, "-I", "-S", "-c", _CALLER, str(address)]


@contextmanager
def warm_command() -> Iterator[Path]:
    """Start the server; yield the address for `argv`."""
    with open_directory("command") as directory:
        address = directory / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen(16)
            server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm_command", str(listener.fileno())],
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).parents[2],
            )
        try:
            yield address
        finally:
            server.kill()
            server.wait()


def _serve(listener: socket.socket) -> None:
    import_module("redflag.main")
    for one in pkgutil.iter_modules(import_module("redflag.cli").__path__, "redflag.cli."):
        import_module(one.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer calls
    while True:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(link)
        link.close()


def _answer(link: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(link, 4, 3)
    arguments, environment, directory = json.loads(link.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    command = os.fork()
    if command == 0:
        link.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 - as a start makes them
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["redflag", *arguments]
        try:
            sys.modules["redflag.main"].main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        for written in (sys.stdout, sys.stderr):
            with suppress(BrokenPipeError):
                written.flush()
        os._exit(code)
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    link.sendall(command.to_bytes(4, "big"))
    _, status = os.waitpid(command, 0)
    code = os.waitstatus_to_exitcode(status)
    link.sendall((code if code >= 0 else 128 - code).to_bytes(4, "big"))
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
