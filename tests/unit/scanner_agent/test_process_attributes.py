"""A process that gave its account up still ends with its parent, and gains nothing back."""

import os
import select
import signal
import subprocess
import sys

import pytest

NOBODY = 65_534
DEADLINE_S = 20

# The parent of the process under test: starts it with a parent-death signal, as a supervisor does, and waits.
PARENT = """
import ctypes, subprocess, sys
def wish(): ctypes.CDLL(None).prctl(1, ctypes.c_ulong(9), 0, 0, 0)
subprocess.run([sys.executable, "-c", sys.argv[1]], preexec_fn=wish)
"""
CHILD = f"""
import os, signal, sys
from redflag_scanner_agent.process_attributes import kept_over_change_of_account
with kept_over_change_of_account():
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
os.write(1, b"ready")
signal.pause()
"""


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root on Linux")
def test_parent_death_signal_outlives_the_change_of_account() -> None:
    reading, writing = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=writing)
    os.close(writing)
    try:
        assert os.read(reading, 16) == b"ready"
        parent.send_signal(signal.SIGKILL)
        parent.wait(DEADLINE_S)
        # The pipe ends when the last process that holds it is gone.
        assert select.select([reading], [], [], DEADLINE_S)[0], "the child outlived its parent"
        assert os.read(reading, 16) == b""
    finally:
        parent.kill()
        parent.wait(DEADLINE_S)
        os.close(reading)


def test_a_process_can_forswear_privileges_for_good() -> None:
    code = (
        "from redflag_scanner_agent.process_attributes import gain_no_privileges\n"
        "gain_no_privileges()\n"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert "NoNewPrivs:\t1" in done.stdout
