from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.errors import ConfigRefusedError, PackageManagerError
from redflag_scanner_agent.packages.registry import available_managers
from tests.support.apt_bed import AptBed, build_bed_with_updates, require_tools


async def test_registry_gives_apt_on_a_private_root(tmp_path: Path) -> None:
    require_tools()
    bed = build_bed_with_updates(tmp_path / "bed")
    managers = available_managers(apt_config=bed.config, work_dir=tmp_path / "work", can_install=True)
    assert list(managers) == ["apt"]
    apt = managers["apt"]
    assert apt.name == "apt"
    capability = apt.capabilities()
    assert (capability.manager, capability.can_install, capability.reason) == ("apt", True, None)
    names = [item.name for item in (await apt.scan(refresh=True)).updates]
    assert names == ["alpha", "beta", "gamma"]
    assert (tmp_path / "work" / "apt").is_dir()


def test_registry_leaves_out_what_is_not_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AptManager, "present", staticmethod(lambda: False))
    assert available_managers(apt_config=None, work_dir=tmp_path, can_install=True) == {}


@pytest.mark.parametrize(("user", "can_install"), [(0, True), (1000, False)])
def test_capability_on_the_host_itself_needs_root(tmp_path: Path, user: int, can_install: bool) -> None:
    manager = AptManager(apt_config=None, work_dir=tmp_path, can_install=True, effective_user=user)
    assert manager.capabilities().can_install is can_install
    assert (manager.capabilities().reason is None) is can_install


async def test_missing_private_configuration_never_falls_back_to_the_host(
    bed: AptBed, tmp_path: Path
) -> None:
    manager = AptManager(apt_config=bed.config, work_dir=tmp_path, can_install=True)
    await manager.scan(refresh=False)
    bed.config.unlink()
    with pytest.raises(ConfigRefusedError):
        await manager.scan(refresh=False)


async def test_private_configuration_without_a_root_of_its_own_is_refused(tmp_path: Path) -> None:
    require_tools()
    config = tmp_path / "apt.conf"
    config.write_text('APT::Sandbox::User "";\n')
    manager = AptManager(apt_config=config, work_dir=tmp_path, can_install=True)
    with pytest.raises(PackageManagerError) as refused:
        await manager.scan(refresh=False)
    assert refused.value.code == "config_refused"
