import pytest

from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned, removed
from redflag_scanner_agent.packages.errors import NameRefusedError

# What apt-get would read as something other than a name, and what only looks like one.
HOSTILE_NAMES = [
    "", "a", "sed-", "-sed", "--reinstall", "-oAPT::Update::Pre-Invoke::=touch", "./x.deb", "/tmp/x.deb",
    "../x.deb", "sed/unstable", "sed/", "sed=4.9", "sed:amd64", "sed:amd64-", "bash\n", "bash\nsed", "bash\r",
    "bash\0", "ba sh", "bash ", " bash", "\u0661bash", "ba\u00b2", "b\u0430sh", "\uff42ash", "ba*", "ba?h", "[ab]ash",
    "^ba", "ba$", "a|b", "~nbash", "?installed", "!bash", "@file", "https://example.org/x.deb", "file:x.deb",
    "Bash", "bash_", "b,ash", "$(touch x)", "`id`", "a" * 129, "+x", ".x", "bash\u202e", "bash\x1b[2J",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(NameRefusedError) as refused:
        check_name(name)
    assert refused.value.code == "name_refused"


# `a.` is a regular expression for apt-get, but `a.:all=1.0` is not; that it exists is checked elsewhere.
@pytest.mark.parametrize("name", ["bash", "g++", "libstdc++6", "libc6", "0ad", "python3.11", "a.", "x" * 128])
def test_real_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "arch", ["", "AMD64", "amd64-\n", "amd64=1", "any amd64", "amd64\n", "../x", "-x", "a" * 40]
)
def test_hostile_architecture_is_refused(arch: str) -> None:
    with pytest.raises(NameRefusedError):
        check_arch(arch)


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1.0-",
        "1.0\n",
        "1 0",
        "v1.0",
        "1.0/x",
        "1.0=2",
        "1:",
        ":1",
        "\u0661.0",
        "-1",
        "1.0$",
        "1.*",
        "1" * 300,
    ],
)
def test_hostile_version_is_refused(version: str) -> None:
    with pytest.raises(NameRefusedError):
        check_version(version)


@pytest.mark.parametrize(
    "version", ["1", "4:12.2.0-3", "2.36-9+deb12u1", "1.0~rc1", "1.0+", "0.0~git20200101.abc-1", "1:2:3"]
)
def test_real_version_is_accepted(version: str) -> None:
    assert check_version(version) == version


def test_pinned_form_carries_name_architecture_and_version() -> None:
    assert pinned("g++", "amd64", "4:12.2.0-3") == "g++:amd64=4:12.2.0-3"
    assert removed("sed", "all") == "sed:all-"


@pytest.mark.parametrize(
    ("name", "arch", "version"), [("sed-", "all", "1"), ("sed", "al l", "1"), ("sed", "all", "1-")]
)
def test_pinned_form_refuses_each_bad_part(name: str, arch: str, version: str) -> None:
    with pytest.raises(NameRefusedError):
        pinned(name, arch, version)
