"""`redflag hosts system|storage|metrics`: how a host is doing, by its own word."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, Common, parse_duration
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.run import Session, run
from redflag.cli.since import time_text
from redflag.cli.words import ago, dash, duration, exact, size

FULL_PERCENT = 90  # from here on a volume is shown as one to look at

_PROCESSES = (
    Column("Pid", right=True),
    Column("Process"),
    Column("Memory", right=True),
    Column("Processor time", right=True),
)
_VOLUMES = (
    Column("Mount", whole=True),
    Column("Size", right=True),
    Column("Free", right=True),
    Column("Used", right=True),
    Column("Inodes", right=True),
    Column("Type"),
    Column("Device", spare=True),
)
_DISKS = (
    Column("Disk", whole=True),
    Column("Model"),
    Column("Size", right=True),
    Column("Health"),
    Column("Temperature", right=True),
    Column("Hours", right=True),
)
_POINTS = (
    Column("From", whole=True),
    Column("Load", right=True),
    Column("Memory used", right=True),
    Column("Swap used", right=True),
    Column("Processes", right=True),
    Column("Fullest volume"),
)


def load(milli: object) -> str:
    """Return a load average of the API; `-` for none."""
    return f"{milli / 1000:.2f}" if isinstance(milli, int) else "-"


def used(total: object, free: object) -> str:
    """Return how much of a total is in use, in percent; `-` when it cannot be told."""
    if not isinstance(total, int) or not isinstance(free, int) or total <= 0:
        return "-"
    return f"{max(0, total - free) * 100 // total} %"


def system(host: str, /, *, common: Common = COMMON) -> int:
    """Show how a host is doing: load, memory, processes, kernel, restarts.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.get(f"/hosts/{segment(host)}/system")
        out = session.out
        if out.as_json:
            out.json(found)
            return ExitCode.DONE
        out.fields(system_fields(session, found))
        if found["top_processes"]:
            out.say()
            out.table(
                _PROCESSES,
                [
                    [str(one["pid"]), one["name"], size(one["rss_bytes"]), duration(one["cpu_ms"] / 1000)]
                    for one in found["top_processes"]
                ],
            )
        return ExitCode.DONE

    return run(common, work)


def system_fields(session: Session, found: Json) -> list[tuple[str, Cell]]:
    """The figures of a host as names and values."""
    reboot: Cell = "not needed"
    if found["reboot_required"]:
        reasons = ", ".join(found["reboot_reasons"])
        reboot = Styled(f"needed{' for ' + reasons if reasons else ''}", "yellow")
    newer = found["kernel_installed"]
    kernel = found["kernel_running"] + (
        f", {newer} is installed" if newer and newer != found["kernel_running"] else ""
    )
    services = found["services_to_restart"]
    total, free = found["memory_total_bytes"], found["memory_available_bytes"]
    swap, swap_free = found["swap_total_bytes"], found["swap_free_bytes"]
    return [
        ("Host", found["hostname"]),
        (
            "As of",
            f"{ago(found['collected_at'], session.api.now)} ({exact(found['collected_at'])}, its own clock)",
        ),
        ("Up", "-" if found["uptime_s"] is None else duration(found["uptime_s"])),
        ("Processors", f"{dash(found['cpu_count'])} {found['cpu_model']}".strip()),
        ("Load", " ".join(load(found[f"load{minutes}_milli"]) for minutes in (1, 5, 15))),
        ("Memory", f"{used(total, free)} of {size(total)}"),
        ("Swap", "none" if swap == 0 else f"{used(swap, swap_free)} of {size(swap)}"),
        ("Processes", _processes(found)),
        ("Kernel", kernel),
        ("Runs on", dash(found["virtualization"])),
        ("Reboot", reboot),
        ("Services to restart", "cannot be told" if services is None else dash(", ".join(services))),
    ]


def _processes(found: Json) -> str:
    running, zombies = dash(found["processes_running"]), dash(found["processes_zombie"])
    return f"{dash(found['processes_total'])} ({running} running, {zombies} zombies)"


def storage(host: str, /, *, common: Common = COMMON) -> int:
    """Show a host's volumes and disks.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.get(f"/hosts/{segment(host)}/storage")
        out = session.out
        if out.as_json:
            out.json(found)
            return ExitCode.DONE
        out.note(f"{found['hostname']}, {ago(found['collected_at'], session.api.now)}")
        out.table(_VOLUMES, [_volume(one) for one in found["volumes"]])
        if found["disks"]:
            out.say()
            out.table(_DISKS, [_disk(one) for one in found["disks"]])
        for problem in found["problems"]:
            out.note(problem)
        return ExitCode.DONE

    return run(common, work)


def _volume(one: Json) -> list[Cell]:
    percent = one["used_percent"]
    full = isinstance(percent, int) and percent >= FULL_PERCENT and not one["read_only"]
    share = "-" if percent is None else f"{percent} %"
    inodes_free = None if one["inodes_total"] is None else one["inodes_total"] - (one["inodes_used"] or 0)
    return [
        one["mount"],
        size(one["total_bytes"]),
        size(one["available_bytes"]),
        Styled(share, "red") if full else share,
        used(one["inodes_total"], inodes_free),
        f"{one['fstype']}{', read-only' if one['read_only'] else ''}",
        dash(one["device"]),
    ]


def _disk(one: Json) -> list[Cell]:
    health = str(one.get("health"))
    degrees = one.get("temperature_celsius")
    return [
        dash(one.get("device")),
        dash(one.get("model")),
        size(one.get("size_bytes")),
        Styled(health, {"passed": "green", "failed": "red"}.get(health, "")),
        "-" if degrees is None else f"{degrees} C",
        dash(one.get("power_on_hours")),
    ]


def metrics(
    host: str,
    /,
    *,
    since: Annotated[str, Parameter(help="How long ago it begins, for example 6h, 7d, or a time.")] = "24h",
    step: Annotated[str | None, Parameter(help="What one line stands for, for example 5m, 1h.")] = None,
    common: Common = COMMON,
) -> int:
    """Show how a host was doing over time.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        query = {
            "since": time_text(since, session.api.now, "--since"),
            "step": None if step is None else parse_duration(step, "--step"),
        }
        found = await session.api.get(f"/hosts/{segment(host)}/metrics", query)
        out = session.out
        if out.as_json:
            out.json(found)
        elif not found["points"]:
            out.empty(f"{found['hostname']} said nothing in that time. Ask it with: redflag scan HOST")
        else:
            out.table(_POINTS, [_point(one) for one in found["points"]])
        return ExitCode.DONE

    return run(common, work)


def _point(one: Json) -> list[Cell]:
    full = one["fullest_percent"]
    return [
        exact(one["at"])[:16],
        load(one["load1_milli"]),
        used(one["memory_total_bytes"], one["memory_available_bytes"]),
        used(one["swap_total_bytes"], one["swap_free_bytes"]),
        dash(one["processes_total"]),
        "-" if full is None else f"{full} % {one['fullest_mount']}",
    ]
