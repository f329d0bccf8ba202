"""The volumes of a host: its local file systems, each once.

A file system of another machine may hang for ever when it is asked, so none of those is; and a local one that hangs
(a dying disk) holds one thread up, not the look.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redflag_scanner_agent.figures.reading import clean, clean_name, read_text
from redflag_wire import limits
from redflag_wire.system_bodies import Volume

ASK_LIMIT_S = 5.0  # seconds one file system has to answer
MOUNTS_MAX_BYTES = 4 * 1024 * 1024
HANGING_MAX = 8  # file systems that did not answer before no other is asked

REMOTE = frozenset(
    {
        "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.glusterfs",
        "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs",
    }
)  # fmt: skip
"""Types that another machine stands behind, or whose look would mount something."""

PSEUDO = frozenset(
    {
        "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
        "fusectl", "hugetlbfs", "mqueue", "none", "nsfs", "overlay", "proc", "pstore", "ramfs", "rootfs",
        "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs", "tracefs",
    }
)  # fmt: skip
"""Types without a disk of their own. The root is told of whatever its type."""

Statvfs = Callable[[str], os.statvfs_result]

_hanging: dict[str, threading.Thread] = {}
"""The questions of this process that got no answer yet, by path; as many as there are file systems that hang."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo.

    Attributes:
        device_number: `major:minor`; the same for every place a file system is mounted at.
        mount: where, as the kernel knows it.
        options: how.
        fstype: its type.
        source: what.
        super_options: of the file system as a whole.
    """

    device_number: str
    mount: str
    options: frozenset[str]
    fstype: str
    source: str
    super_options: frozenset[str]


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts in the text of /proc/self/mountinfo; lines that are none are left out."""
    mounts = []
    for line in text.split("\n"):  # only this ends a line; whoever mounts may choose all other separators
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(rest) < 3:  # noqa: PLR2004 - proc_pid_mountinfo(5)
            continue
        mounts.append(
            Mount(
                device_number=fields[2],
                mount=_unescaped(fields[4]),
                options=frozenset(fields[5].split(",")),
                fstype=rest[0],
                source=_unescaped(rest[1]),
                super_options=frozenset(rest[2].split(",")),
            )
        )
    return mounts


def chosen(mounts: list[Mount]) -> list[Mount]:
    """Return the local ones, each file system once, where it is mounted first by length of path."""
    by_device: dict[str, Mount] = {}
    for one in mounts:
        remote = one.fstype in REMOTE or one.source.startswith("//")
        pseudo = one.fstype in PSEUDO or (one.fstype.startswith("fuse.") and one.fstype != "fuse.ntfs-3g")
        if remote or (pseudo and one.mount != "/"):
            continue
        known = by_device.get(one.device_number)
        if known is None or len(one.mount) < len(known.mount):
            by_device[one.device_number] = one
    return sorted(by_device.values(), key=lambda one: one.mount)


def volumes(
    root: Path, statvfs: Statvfs = os.statvfs, limit_s: float = ASK_LIMIT_S
) -> tuple[list[Volume], list[str]]:
    """Return the volumes and what hindered the look.

    Args:
        root: where /proc is; the mounts themselves are asked at the paths it names.
        statvfs: asks one file system.
        limit_s: seconds each has to answer.
    """
    text = read_text(root / "proc/self/mountinfo", MOUNTS_MAX_BYTES)
    if text is None:
        return [], ["the list of mounts cannot be read"]
    found: list[Volume] = []
    problems: list[str] = []
    hanging = 0
    mounts = chosen(parse_mounts(text))
    if len(mounts) > limits.VOLUMES_MAX:
        problems.append(
            f"{len(mounts) - limits.VOLUMES_MAX} volumes beyond {limits.VOLUMES_MAX} are left out"
        )
    for one in mounts[: limits.VOLUMES_MAX]:
        if hanging >= HANGING_MAX:
            problems.append(clean(f"{one.mount}: not asked, too many others do not answer"))
            continue
        answer = _ask(one.mount, statvfs, limit_s)
        if isinstance(answer, os.statvfs_result):
            volume = _volume(one, answer)
            if volume is not None:
                found.append(volume)
            continue
        hanging += answer is None
        why = f"no answer within {limit_s:g} s" if answer is None else answer.strerror or "cannot be asked"
        problems.append(clean(f"{one.mount}: {why}"))
    return found, problems[: limits.PROBLEMS_MAX]


def _volume(mount: Mount, answer: os.statvfs_result) -> Volume | None:
    block, most = answer.f_frsize or answer.f_bsize, limits.INTEGER_LIMIT - 1
    if answer.f_blocks == 0:
        return None
    inodes = answer.f_files or None
    return Volume(
        mount=clean(mount.mount),
        device=clean(mount.source),
        fstype=clean_name(mount.fstype) or "unknown",
        total_bytes=min(answer.f_blocks * block, most),
        used_bytes=min(max(0, answer.f_blocks - answer.f_bfree) * block, most),
        available_bytes=min(answer.f_bavail * block, most),
        inodes_total=None if inodes is None else min(inodes, most),
        inodes_used=None if inodes is None else min(max(0, inodes - answer.f_ffree), most),
        read_only="ro" in mount.options or "ro" in mount.super_options,
    )


def _ask(path: str, statvfs: Statvfs, limit_s: float) -> os.statvfs_result | OSError | None:
    """Ask in a thread that may be left behind; None when there was no answer in time.

    A path whose last question hangs still is not asked again: each look would leave another thread behind.
    """
    for known in [one for one, asking in _hanging.items() if not asking.is_alive()]:
        del _hanging[known]
    if path in _hanging:
        return None
    answers: list[os.statvfs_result | OSError] = []

    def ask() -> None:
        try:
            answers.append(statvfs(path))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="ask-volume")
    thread.start()
    thread.join(limit_s)
    if answers:
        return answers[0]
    _hanging[path] = thread
    return None


def _unescaped(text: str) -> str:
    """Return a path as it is: the kernel writes blanks, tabs, line feeds and backslashes as octal numbers."""
    raw = re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), os.fsencode(text))
    return os.fsdecode(raw)
