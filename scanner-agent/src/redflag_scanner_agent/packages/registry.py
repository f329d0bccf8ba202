"""Which package managers this host has."""

from pathlib import Path

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.apt_install import Services
from redflag_scanner_agent.packages.base import PackageManager


def available_managers(
    *, apt_config: Path | None, work_dir: Path, can_install: bool, services: Services | None = None
) -> dict[str, PackageManager]:
    """The managers whose programs are on this host, by name.

    Args:
        apt_config: an APT_CONFIG file that gives apt a private root, or None for the host itself.
        work_dir: where managers keep what they must remember; each gets a directory of its own in it.
        can_install: whether this host's policy allows installing at all.
        services: looks which services of this machine need a restart after an installation; not used for a
            private root, whose services are not this machine's.
    """
    managers: dict[str, PackageManager] = {}
    if AptManager.present():
        apt = AptManager(
            apt_config=apt_config,
            work_dir=work_dir / "apt",
            can_install=can_install,
            services=services if apt_config is None else None,
        )
        managers[apt.name] = apt
    return managers
