from hypothesis import given
from hypothesis import strategies as st

from redflag_scanner_agent.packages.apt_parse import (
    Step,
    error_lines,
    named_holder,
    parse_simulation,
    update_problems,
)

REAL = """\
NOTE: This is only a simulation!
Reading package lists...
The following packages will be upgraded:
  base-files libc6
Inst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Inst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/old-sec [amd64]) []
Inst libpam-modules-bin [1.5.2-6] (1.5.2-6+u2 Debian:12.15/oldstable [amd64]) [x:amd64 on y:amd64] [x:amd64 ]
Inst libc6:i386 [2.36-9] (2.36-9+u1 Debian:12.15/oldstable [i386]) []
Inst newdep (1:1.0-1 Bed:bed [all])
Inst tool [1.0] (0.9 Bed:1/bed, local-deb [all])
Inst odd-origin [1.0] (1.1 My Own Archive:13/my-suite [amd64])
Remv oldlib:i386 [1.0-3] [other:amd64 ]
Purg purged [2.0]
Conf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])
"""


def test_simulation_of_real_lines_is_read() -> None:
    found = parse_simulation(REAL)
    assert found.odd_lines == ()
    assert found.steps == (
        Step(name="base-files", arch="amd64", old="12.4+deb12u11", new="12.4+deb12u15"),
        Step(name="libgcrypt20", arch="amd64", old="1.10.1-3", new="1.10.1-3+deb12u1"),
        Step(name="libpam-modules-bin", arch="amd64", old="1.5.2-6", new="1.5.2-6+u2"),
        Step(name="libc6", arch="i386", old="2.36-9", new="2.36-9+u1"),
        Step(name="newdep", arch="all", old=None, new="1:1.0-1"),
        Step(name="tool", arch="all", old="1.0", new="0.9"),
        Step(name="odd-origin", arch="amd64", old="1.0", new="1.1"),
        Step(name="oldlib", arch="i386", old="1.0-3", new=None),
        Step(name="purged", arch="", old="2.0", new=None),
    )


def test_simulation_removal_before_installation_is_one_change() -> None:
    text = "Remv loop [1.0]\nInst loop [1.0] (2.0 Bed:bed [amd64])\n"
    assert parse_simulation(text).steps == (Step(name="loop", arch="amd64", old="1.0", new="2.0"),)


def test_simulation_odd_lines_are_counted_not_guessed() -> None:
    odd = [
        "Inst ",
        "Inst x",
        "Inst x [1.0]",
        "Inst x [1.0] (2.0 Bed:bed)",
        "Inst x [1.0] ()",
        "Remv x",
        "Inst :amd64 (1 B:b [all])",
    ]
    found = parse_simulation("\n".join(odd))
    assert found.steps == ()
    assert list(found.odd_lines) == odd


def test_simulation_prose_is_not_a_step() -> None:
    assert parse_simulation("  Inst sneaky [1] (2 Bed:bed [all])\nInstalling x\nRemvx [1]\n").steps == ()


@given(st.text(max_size=300))
def test_simulation_never_raises_on_any_text(text: str) -> None:
    parse_simulation("Inst " + text)
    parse_simulation(text)
    update_problems(text)
    error_lines(text)


def test_update_problems_name_unreachable_mirrors_once() -> None:
    text = (
        "W: Failed to fetch http://mirror.example/dists/x/InRelease  Could not connect to mirror.example:80\n"
        "W: Failed to fetch http://mirror.example/dists/x/InRelease  Could not connect to mirror.example:80\n"
        "W: Some index files failed to download. They have been ignored, or old ones used instead.\n"
        "W: GPG error: http://other.example x InRelease: NO_PUBKEY 0123\n"
        "N: a note\n"
    )
    problems = update_problems(text)
    assert [problem.partition(":")[0] for problem in problems] == ["mirror_unreachable", "refresh"]
    assert "mirror.example" in problems[0]


def test_update_problems_are_bounded() -> None:
    problems = update_problems("".join(f"W: number {n} {'x' * 1000}\n" for n in range(100)))
    assert len(problems) == 20
    assert all(len(problem) < 600 for problem in problems)


def test_lock_holder_is_named() -> None:
    text = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)"
    assert named_holder(text) == "process 4711 (unattended-upgr)"
    assert named_holder("E: Could not get lock /x. It is held by process 7") == "process 7"
    assert named_holder("E: something else") is None
    assert update_problems(text)[0].startswith("lock_held: ")
