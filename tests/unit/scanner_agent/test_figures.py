"""Figures of a host from trees of files, hostile ones among them, and one look at this very machine."""

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from redflag_scanner_agent.figures import disks, kernel, needrestart, processes, storage, system
from redflag_scanner_agent.figures.host import HostFigures
from redflag_scanner_agent.figures.reading import clean, milli, read_text, whole
from redflag_scanner_agent.host_clock import HostClock
from redflag_wire import limits
from redflag_wire.report_bodies import parse_body

NOW = datetime(2026, 11, 21, tzinfo=UTC)
STAT = "{pid} ({name}) {state} 1 1 1 0 -1 4194560 1 0 0 0 {utime} 50 0 0 20 0 1 0 5 1000 {rss} 18446744073709551615"


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def process(
    pid: int, name: str = "sshd", state: str = "S", rss: int = 10, utime: int = 100
) -> tuple[str, str]:
    return f"proc/{pid}/stat", STAT.format(pid=pid, name=name, state=state, rss=rss, utime=utime)


HOST = dict(
    [
        process(1, "init", rss=500),
        process(2, "a (strange) name", "R"),
        process(3, "zombie", "Z", rss=0),
        process(4, "\u202e\x1b[31mred\n", rss=900),
        ("proc/uptime", "2196.51 4000.00\n"),
        ("proc/loadavg", "0.25 1.5 10.00 1/234 999\n"),
        (
            "proc/meminfo",
            "MemTotal:       1000 kB\nMemAvailable:    400 kB\nSwapTotal: 8 kB\nSwapFree: 0 kB\nHugePages_Total: 0\n",
        ),
        ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Ünlikely CPU\nprocessor\t: 1\n"),
        ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
        ("sys/devices/system/cpu/online", "0-3,6\n"),
        ("boot/vmlinuz-6.1.0-9-amd64", ""),
        ("boot/vmlinuz-6.1.0-18-amd64", ""),
        ("boot/vmlinuz-old", ""),
        ("boot/initrd.img-9.9.9", ""),
        ("run/reboot-required", ""),
        ("run/reboot-required.pkgs", "linux-image-6.1\nlibc6\nlinux-image-6.1\n\n"),
    ]
)


def test_figures_of_a_whole_host(tmp_path: Path) -> None:
    found = system.collect(NOW, system.Asked(services=["ssh.service"]), tree(tmp_path, {**HOST}))
    assert (found.uptime_s, found.cpu_count, found.cpu_model) == (2196, 5, "Ünlikely CPU")
    assert (found.load1_milli, found.load5_milli, found.load15_milli) == (250, 1500, 10_000)
    assert (found.memory_total_bytes, found.memory_available_bytes) == (1_024_000, 409_600)
    assert (found.swap_total_bytes, found.swap_free_bytes) == (8192, 0)
    assert (found.processes_total, found.processes_running, found.processes_zombie) == (4, 1, 1)
    page = os.sysconf("SC_PAGE_SIZE")
    tops = [(one.pid, one.rss_bytes) for one in found.top_processes]
    assert tops == [(4, 900 * page), (1, 500 * page), (2, 10 * page), (3, 0)]
    assert found.top_processes[0].name == "??[31mred?"
    assert found.top_processes[2].name == "a (strange) name"
    assert found.top_processes[0].cpu_ms == 150 * 1000 // os.sysconf("SC_CLK_TCK")
    assert (found.kernel_running, found.kernel_installed) == ("6.1.0-13-amd64", "6.1.0-18-amd64")
    assert found.reboot_required
    assert found.reboot_reasons == ["linux-image-6.1", "libc6"]
    assert found.services_to_restart == ["ssh.service"]
    assert parse_body(found.to_bytes()) == found


def test_host_that_shows_nothing_has_no_figures(tmp_path: Path) -> None:
    found = system.collect(NOW, system.Asked(), tmp_path)
    assert found.uptime_s is found.load1_milli is found.memory_total_bytes is found.processes_total is None
    assert (found.kernel_running, found.kernel_installed, found.virtualization) == ("unknown", None, None)
    assert (found.top_processes, found.reboot_required, found.services_to_restart) == ([], False, None)


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\x00", b"-1 nan 1e9", b"9" * 400, b"\n" * 9000])
def test_junk_in_every_file_is_no_figure_and_no_error(tmp_path: Path, junk: bytes) -> None:
    found = system.collect(NOW, system.Asked(), tree(tmp_path, dict.fromkeys(HOST, junk)))
    assert found.load5_milli is None
    assert found.processes_total == 0
    assert parse_body(found.to_bytes()) == found


def test_only_the_largest_processes_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, dict(process(pid, rss=pid) for pid in range(1, 60)))
    found = processes.collect(root / "proc", page_bytes=4096, ticks_per_s=100)
    assert found.total == 59
    assert [one.pid for one in found.top] == list(range(59, 39, -1))


@pytest.mark.parametrize("line", [None, "", "1 (a", "1 (a) S 1", "1 (a) S " + "x " * 40, ") ("])
def test_line_that_is_no_process_is_left_out(line: str | None) -> None:
    assert processes.parse_stat(line, 1, 4096, 100) is None


MOUNTS = r"""
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
23 21 8:2 / /srv/my\040data rw,nosuid shared:1 - xfs /dev/sda2 ro
24 21 8:1 /home /home rw - ext4 /dev/sda1 rw
25 21 0:44 / /mnt/nfs rw - nfs4 server:/export rw
26 21 0:45 / /mnt/ssh rw - fuse.sshfs me@there:/ rw
27 21 0:46 / /auto rw - autofs systemd-1 rw
28 21 7:1 / /snap/x ro - squashfs /dev/loop1 ro
29 21 0:47 / /run rw - tmpfs tmpfs rw
30 21 0:48 / /mnt/smb rw - drvfs //server/share rw
31 21 0:49 / /zfs rw - zfs tank/data rw
nonsense
32 21 x
"""


def answer(blocks: int = 1000) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, blocks, 400, 300, 50, 20, 20, 0, 255))


def test_volumes_are_the_local_file_systems_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(path)
        return answer()

    found, problems = storage.volumes(tree(tmp_path, {"proc/self/mountinfo": MOUNTS}), statvfs)
    assert asked == ["/", "/srv/my data", "/zfs"]  # and nobody else's file systems
    assert problems == []
    first, second = found[0], found[1]
    assert (first.mount, first.device, first.fstype, first.read_only) == ("/", "/dev/sda1", "ext4", False)
    assert (first.total_bytes, first.used_bytes, first.available_bytes) == (4_096_000, 2_457_600, 1_228_800)
    assert (first.inodes_total, first.inodes_used) == (50, 30)
    assert (second.mount, second.read_only) == ("/srv/my data", True)


def test_root_of_a_container_counts_whatever_its_type(tmp_path: Path) -> None:
    mounts = "1 0 0:50 / / rw - overlay overlay rw\n2 1 0:51 / /data rw - overlay overlay rw\n"
    found, _ = storage.volumes(tree(tmp_path, {"proc/self/mountinfo": mounts}), lambda _path: answer())
    assert [one.mount for one in found] == ["/"]


def test_file_system_that_hangs_or_fails_is_a_problem_and_the_others_are_told(tmp_path: Path) -> None:
    mounts = "".join(f"{n} 0 8:{n} / /v{n:02} rw - ext4 /dev/x{n} rw\n" for n in range(20))
    stuck = threading.Event()

    def statvfs(path: str) -> os.statvfs_result:
        if path == "/v03":
            raise OSError(5, "Input/output error")
        if path > "/v05":
            stuck.wait()
        return answer(0 if path == "/v04" else 10)

    found, problems = storage.volumes(tree(tmp_path, {"proc/self/mountinfo": mounts}), statvfs, limit_s=0.01)
    stuck.set()
    assert [one.mount for one in found] == ["/v00", "/v01", "/v02", "/v05"]
    assert problems[0] == "/v03: Input/output error"
    assert problems[1] == "/v06: no answer within 0.01 s"
    assert problems[-1] == "/v19: not asked, too many others do not answer"
    assert len(problems) == 15


def test_mounts_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    assert storage.volumes(tmp_path) == ([], ["the list of mounts cannot be read"])


def test_hostile_mount_names_are_cleaned(tmp_path: Path) -> None:
    mounts = "1 0 8:1 / /evil\\012\\033[31m\\342\\200\\256 rw - ext4 /dev/a rw\n"
    found, _ = storage.volumes(tree(tmp_path, {"proc/self/mountinfo": mounts}), lambda _path: answer())
    assert found[0].mount == "/evil??[31m?"


SMART = """{"model_name": "DISK 9000 ", "smart_status": {"passed": true},
 "temperature": {"current": 34}, "power_on_time": {"hours": 12345, "minutes": 3}}"""


def test_disks_and_what_smartctl_says(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "sys/block/sda/size": "2048\n",
            "sys/block/sda/device/model": "OTHER  \n",
            "sys/block/nvme0n1/size": "x",
            "sys/block/loop0/size": "1",
            "sys/block/dm-0/size": "1",
            "sys/block/sdb/size": "1",  # of another container's host: there is no device
            "dev/sda": "",
            "dev/nvme0n1": "",
            "dev/loop0": "",
        },
    )
    assert disks.names(root) == ["nvme0n1", "sda"]
    found = disks.disk(root, "sda", disks.parse_smart(SMART))
    assert (found.device, found.model, found.size_bytes) == ("/dev/sda", "DISK 9000", 1_048_576)
    assert (found.health, found.temperature_celsius, found.power_on_hours) == ("passed", 34, 12345)
    plain = disks.disk(root, "sda", disks.Said())
    assert (plain.model, plain.health) == ("OTHER", "unknown")
    assert disks.disk(root, "nvme0n1", disks.Said()).size_bytes is None
    assert disks.names(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"smart_status": 1}',
        '{"smart_status": {"passed": "yes"}, "temperature": {"current": true}, "power_on_time": {"hours": -1}}',
        '{"model_name": 5, "temperature": {"current": 1e99}}',
        "[" * 100_000,
    ],
)
def test_smart_answer_that_cannot_be_read_says_nothing(text: str) -> None:
    assert disks.parse_smart(text) == disks.Said()


def test_failing_disk_is_told() -> None:
    assert disks.parse_smart('{"smart_status": {"passed": false}}').health == "failed"


def test_needrestart_answer() -> None:
    text = (
        "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-13-amd64\nNEEDRESTART-KEXP: 6.1.0-18-amd64\n"
        "NEEDRESTART-KSTA: 3\nNEEDRESTART-SVC: ssh.service\n"
        "NEEDRESTART-SVC: cron.service\nNEEDRESTART-SVC: ssh.service\n"
    )
    found = needrestart.parse(text)
    assert found == needrestart.NeedRestart(
        ["cron.service", "ssh.service"], "6.1.0-18-amd64", kernel_old=True
    )
    assert needrestart.parse("no such program") is None
    many = needrestart.parse("".join(f"NEEDRESTART-SVC: s{n}\n" for n in range(999)))
    assert many is not None
    assert len(many.services) == 256


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "qemu"),
        ({"sys/class/dmi/id/product_name": "VMware Virtual Platform"}, "vmware"),
        ({"proc/cpuinfo": "flags\t\t: fpu hypervisor sse\n"}, "vm-other"),
        ({"proc/cpuinfo": "flags\t\t: fpu sse\n"}, None),
    ],
)
def test_virtualization_by_files(tmp_path: Path, files: dict[str, str | bytes], kind: str | None) -> None:
    assert kernel.virtualization(tree(tmp_path, files)) == kind


def test_newest_kernel_goes_by_numbers(tmp_path: Path) -> None:
    assert kernel.installed(tmp_path) is None
    names = ["5.15.0-99", "6.2.0-1", "6.10.0-1", "6.9.12", "rescue-abc"]
    root = tree(tmp_path, {f"boot/vmlinuz-{name}": "" for name in names})
    assert kernel.installed(root) == "6.10.0-1"


def test_small_readers() -> None:
    assert clean("a\tb\u202e" + "ü" * 3000)[:4] == "a?b?"
    assert len(clean("ü" * 3000).encode()) <= 2048
    assert clean("\udcff") == "?"
    assert (whole("12"), whole("-1"), whole("٣"), whole("9" * 20), whole(None)) == (
        12,
        None,
        None,
        None,
        None,
    )
    assert (milli("0.25"), milli("x"), milli("1e3"), milli("9" * 40)) == (250, None, None, None)


async def test_this_very_machine() -> None:
    figures = HostFigures(HostClock())
    found, disk = await figures.system(), await figures.storage()
    assert found.uptime_s is not None
    assert found.memory_total_bytes is not None
    assert found.processes_total is not None
    assert found.processes_total >= 1
    assert found.kernel_running == os.uname().release
    assert disk.volumes or disk.problems
    for body in (found, disk):
        assert parse_body(body.to_bytes()) == body
    assert figures.facts([]).kernel == os.uname().release


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "loop"])
def test_what_is_no_file_in_the_place_of_one_says_nothing(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "reboot-required.pkgs"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero" if kind == "device" else place)
    handles = len(list(Path("/proc/self/fd").iterdir()))
    assert read_text(place) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_file_system_that_hangs_holds_up_one_thread_however_often_it_is_looked_at(tmp_path: Path) -> None:
    release, asked = threading.Event(), []

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(path)
        release.wait(5)
        return answer()

    mounts = "36 35 8:1 / /hanging rw - ext4 /dev/sda1 rw\n"
    root = tree(tmp_path, {"proc/self/mountinfo": mounts})
    for _ in range(3):
        found, problems = storage.volumes(root, statvfs, limit_s=0.01)
        assert (found, problems) == ([], ["/hanging: no answer within 0.01 s"])
    assert asked == ["/hanging"]
    release.set()
    for thread in threading.enumerate():
        if thread.name == "ask-volume":
            thread.join()
    found, problems = storage.volumes(root, statvfs)  # it answers again
    assert ([one.mount for one in found], problems) == (["/hanging"], [])


def test_no_sign_in_a_mount_point_ends_its_line_but_a_line_feed() -> None:
    (mount,) = storage.parse_mounts("36 35 8:1 / /a\x0cb\u2028c\x85d rw - ext4 /dev/sda1 rw\n")
    assert mount.mount == "/a\x0cb\u2028c\x85d"


def test_processor_time_beyond_what_the_wire_takes_is_its_most() -> None:
    text = STAT.format(pid=1, name="x", state="S", rss=1, utime=limits.INTEGER_LIMIT - 1)
    found = processes.parse_stat(text, 1, 4096, 100)
    assert found is not None
    assert found[1].cpu_ms == limits.INTEGER_LIMIT - 1
