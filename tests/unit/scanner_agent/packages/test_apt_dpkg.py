from redflag_scanner_agent.packages.apt_dpkg import parse_states

TEXT = (
    "bash\tamd64\t5.2.15-2\tinstall\tinstalled\tok\n"
    "tzdata\tall\t2025b\thold\tinstalled\tok\n"
    "libc6\tamd64\t2.36-9\tinstall\tinstalled\tok\n"
    "libc6\ti386\t2.36-8\tinstall\thalf-configured\tok\n"
    "gone\tall\t1.0\tdeinstall\tconfig-files\tok\n"
    "torn\tall\t1.0\tinstall\tinstalled\treinstreq\n"
    "odd line\n"
    "too\tfew\tfields\n"
)


def test_states_are_found_by_name_and_architecture() -> None:
    states = parse_states(TEXT, "amd64")
    assert states.version("libc6", "amd64") == "2.36-9"
    assert states.version("libc6", "i386") == "2.36-8"
    assert states.version("libc6", "arm64") is None


def test_states_take_all_and_native_for_the_same_package() -> None:
    states = parse_states(TEXT, "amd64")
    assert states.version("tzdata", "amd64") == "2025b"
    assert states.version("bash", "all") == "5.2.15-2"
    assert states.version("bash", "") == "5.2.15-2"


def test_states_tell_held_removed_and_broken_packages() -> None:
    states = parse_states(TEXT, "amd64")
    tzdata = states.get("tzdata", "all")
    assert tzdata is not None
    assert tzdata.held
    assert states.version("gone", "all") is None
    assert {(one.name, one.arch) for one in states.unsound()} == {("libc6", "i386"), ("torn", "all")}
    assert len(states.present()) == 5
