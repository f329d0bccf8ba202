"""Which package managers this host has."""

from pathlib import Path

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.base import PackageManager
from redflag_scanner_agent.packages.services import services_to_restart


def available_managers(
    *, apt_config: Path | None, work_dir: Path, can_install: bool
) -> dict[str, PackageManager]:
    """The managers whose programs are on this host, by name.

    Args:
        apt_config: an APT_CONFIG file that gives apt a private root, or None for the host itself.
        work_dir: where managers keep what they must remember; each gets a directory of its own in it.
        can_install: whether this host's policy allows installing at all.
    """
    managers: dict[str, PackageManager] = {}
    if AptManager.present():
        apt = AptManager(
            apt_config=apt_config,
            work_dir=work_dir / "apt",
            can_install=can_install,
            services=services_to_restart if apt_config is None else None,  # a private root has none
        )
        managers[apt.name] = apt
    return managers
