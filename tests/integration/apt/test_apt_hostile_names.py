"""What apt-get makes of words that are no names, and that none of them reaches it.

Each line says what the real `apt-get -s` does with the word in the bed, so that the reason for the refusal cannot be
forgotten, and with which code the manager refuses it. A later apt that gives a word less meaning fails here, too.
"""

from collections.abc import Callable

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.process import Finished
from redflag_wire.command_params import PackageRef, PlanMode
from tests.support.apt_bed import AptBed, build_bed, require_tools

REFUSED, UNKNOWN = "name_refused", "not_available"
# (the word, what apt-get -s install -- <word> prints, how the manager refuses it as a name)
WORDS = [
    ("demo-", "Remv demo", REFUSED),  # a removal; `--` does not help
    ("demo:all-", "Remv demo", REFUSED),
    ("demo:all", "Inst demo", REFUSED),
    ("demo+", "Inst demo", UNKNOWN),  # an installation; `+` may end a name (g++)
    ("^demo$", "Inst demo", REFUSED),  # a regular expression
    ("d.m.", "Inst demo", UNKNOWN),  # written like a name, and a regular expression for apt
    ("o.", "Inst other", UNKNOWN),  # one that fits several packages
    ("dem*", "Inst demo", REFUSED),
    ("dem?", "Inst demo", REFUSED),
    ("[d]emo", "Inst demo", REFUSED),
    ("?installed", "", REFUSED),
    ("~ndemo", "Inst demo", REFUSED),
    ("demo/bed", "Inst demo", REFUSED),  # another release
    ("demo=2*", "Inst demo", REFUSED),
    ("demo=2.0", "Inst demo", REFUSED),
    ("demo^", "Couldn't find task", REFUSED),
    ("-oAPT::Get::Show-User-Simulation-Note=x", "Unable to locate", REFUSED),
    ("--purge", "Unable to locate", REFUSED),
    ("./x.deb", "Unsupported file", REFUSED),
    ("/etc/passwd", "Unsupported file", REFUSED),
    ("http://evil.example/x.deb", "Unable to locate", REFUSED),
    ("file:///tmp/x.deb", "Unable to locate", REFUSED),
    ("@list", "Unable to locate", REFUSED),
    ("demo\n", "Unable to locate", REFUSED),
    ("demo other", "Unable to locate", REFUSED),
    ("demo\u00a0", "Unable to locate", REFUSED),
    ("\u0661demo", "Unable to locate", REFUSED),  # a digit to str.isdigit and int
    ("dem\u043e", "Unable to locate", REFUSED),
    ("Demo", "Unable to locate", REFUSED),
    ("", "", REFUSED),
]
VERSIONS = ["2*", "2.0-", "2.0/bed", "2.0 other", "2.0\n", "-2.0", "\u0662.0", "2.0;x", "", "../2.0"]
ARCHES = ["all-", "all/bed", "*", "-all", "ALL", "all=2.0", "all\n", ""]


@pytest.fixture(scope="module")
def names_bed(tmp_path_factory: pytest.TempPathFactory) -> AptBed:
    require_tools()
    bed = build_bed(tmp_path_factory.mktemp("names") / "bed")
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    bed.publish("other", "1.0")
    bed.refresh()
    return bed


@pytest.fixture
def argv_seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every argument that any program was started with."""
    seen: list[str] = []
    run = AptRunner._run

    async def listening(self: AptRunner, *argv: str, **options: float) -> Finished:
        seen.extend(argv)
        return await run(self, *argv, **options)

    monkeypatch.setattr(AptRunner, "_run", listening)
    return seen


@pytest.mark.parametrize("mode", [PlanMode.PACKAGES, PlanMode.ROLLBACK])
@pytest.mark.parametrize(("word", "effect", "code"), WORDS, ids=[ascii(word) for word, _, _ in WORDS])
async def test_word_is_refused_before_apt(  # noqa: PLR0917
    names_bed: AptBed,
    make_manager: Callable[..., AptManager],
    argv_seen: list[str],
    word: str,
    effect: str,
    code: str,
    mode: PlanMode,
) -> None:
    if mode is PlanMode.PACKAGES:
        raw = names_bed.apt("-s", "install", "--", word, check=False)
        assert effect in raw.stdout + raw.stderr
    request = PackageRef.model_construct(name=word, arch="all", version="1.0")
    with pytest.raises(PackageManagerError) as refused:
        await make_manager(names_bed).plan([request], mode)
    if mode is PlanMode.ROLLBACK and code == UNKNOWN:
        assert refused.value.code == "not_installed"
    else:
        assert refused.value.code == code
    # A word that is written like a name may be looked up (apt-cache), never be asked for.
    assert not [one for one in argv_seen if word and one.startswith(word) and "=" in one[len(word) :]]
    if code == REFUSED:
        assert argv_seen == []
    assert names_bed.everything() == {"demo": "1.0"}


@pytest.mark.parametrize(
    ("field", "word"),
    [("version", word) for word in VERSIONS] + [("arch", word) for word in ARCHES],
    ids=ascii,
)
async def test_version_and_architecture_are_refused_before_apt(
    names_bed: AptBed,
    make_manager: Callable[..., AptManager],
    argv_seen: list[str],
    field: str,
    word: str,
) -> None:
    request = PackageRef(name="demo", arch="all", version="2.0").model_copy(update={field: word})
    with pytest.raises(PackageManagerError) as refused:
        await make_manager(names_bed).plan([request])
    assert refused.value.code == REFUSED
    assert argv_seen == []
