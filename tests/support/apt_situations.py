"""The situations of the table in `apt_table`: how the host of each is built, and what happens to it."""

import contextlib

from redflag_wire.command_params import PlanMode
from tests.support.apt_bed import AptBed
from tests.support.apt_table import Situation
from tests.support.lock_holder import holder_of

PIN = "Package: demo\nPin: version 2*\nPin-Priority: -1\n"
# Once: the next run of the script finds the mark and ends well. $PPID is the dpkg that runs it.
CUT_OFF = 'mark="$DPKG_ROOT/var/cut-off"; if [ ! -e "$mark" ]; then : > "$mark"; kill -9 $PPID; fi'


def base(bed: AptBed, *names: str, version: str = "1.0") -> None:
    """Plain packages, installed."""
    for name in names:
        bed.publish(name, version)
    bed.refresh()
    for name in names:
        bed.install(name, version)


def up_to_date(bed: AptBed) -> None:
    bed.publish("demo", "0.9")
    base(bed, "demo")


def newer(bed: AptBed) -> None:
    """A version that nobody knew of when the plan was made."""
    bed.publish("demo", "3.0")
    bed.refresh()


def forward(bed: AptBed) -> None:
    bed.install("demo", "2.0")


def updates(bed: AptBed) -> None:
    base(bed, "demo", "other")
    bed.publish("demo", "2.0")
    bed.publish("other", "2.0")
    bed.refresh()


def forward_both(bed: AptBed) -> None:
    forward(bed)
    bed.install("other", "2.0")


def security(bed: AptBed) -> None:
    base(bed, "demo", "other")
    bed.publish("demo", "2.0", security=True)
    bed.publish("other", "2.0")
    bed.refresh()


def another_fix(bed: AptBed) -> None:
    bed.publish("other", "2.1", security=True)
    bed.refresh()


def new_dependency(bed: AptBed) -> None:
    base(bed, "demo")
    bed.publish("newdep", "1.0")
    bed.publish("demo", "2.0", depends="newdep")
    bed.refresh()


def another_dependency(bed: AptBed) -> None:
    bed.publish("newdep", "1.1", depends="further")
    bed.publish("further", "1.0")
    bed.refresh()


def one_update(bed: AptBed) -> None:
    base(bed, "demo")
    bed.publish("demo", "2.0")
    bed.refresh()


def held(bed: AptBed) -> None:
    one_update(bed)
    bed.hold("demo")


def forward_held(bed: AptBed) -> None:
    bed.unhold("demo")
    forward(bed)
    bed.hold("demo")


def phased(bed: AptBed) -> None:
    base(bed, "demo", "other")
    bed.publish("demo", "2.0", phased=0)
    bed.publish("other", "2.0", phased=99)
    bed.refresh()


def pinned(bed: AptBed) -> None:
    one_update(bed)
    bed.pin(PIN)


def without_pin(bed: AptBed) -> None:
    bed.path("etc/apt/preferences.d/pin").unlink()


def conffile(bed: AptBed) -> None:
    bed.publish("demo", "1.0", conffiles={"etc/demo.conf": "value=1\n"})
    bed.refresh()
    bed.install("demo")
    bed.path("etc/demo.conf").write_text("value=mine\n")
    bed.publish("demo", "2.0", conffiles={"etc/demo.conf": "value=2\n"})
    bed.refresh()


def forward_conffile(bed: AptBed) -> None:
    bed.apt("install", "-y", "-o", "Dpkg::Options::=--force-confold", "demo=2.0")


def failing_postinst(bed: AptBed) -> None:
    base(bed, "demo", "other")
    bed.publish("demo", "2.0", scripts={"postinst": "echo out of cheese >&2; exit 3"})
    bed.publish("other", "2.0")
    bed.refresh()


def forward_failing(bed: AptBed) -> None:
    bed.apt("install", "-y", "demo=2.0", check=False)


def locked(bed: AptBed) -> contextlib.AbstractContextManager[object]:
    return holder_of(bed.path("var/lib/dpkg/lock-frontend"))


def interrupted(bed: AptBed) -> None:
    base(bed, "demo", "other")
    bed.publish("other", "2.0", scripts={"postinst": CUT_OFF})
    bed.publish("demo", "2.0")
    bed.refresh()
    bed.apt("install", "-y", "other=2.0", check=False)


def mirror_away(bed: AptBed) -> None:
    one_update(bed)
    bed.take_mirror_away()


def held_by_then(bed: AptBed) -> None:
    bed.hold("demo")


def fetched_before(bed: AptBed) -> None:
    bed.bring_mirror_back()
    forward(bed)
    bed.take_mirror_away()


SITUATIONS = (
    Situation(name="up to date", build=up_to_date, disturb=newer, back={"demo": "0.9"}),
    Situation(
        name="updates",
        build=updates,
        names=("demo", "other"),
        disturb=newer,
        forward=forward_both,
        back={"demo": "1.0", "other": "1.0"},
    ),
    Situation(
        name="security only",
        build=security,
        mode=PlanMode.SECURITY,
        disturb=another_fix,
        forward=forward,
        signed=True,
    ),
    Situation(
        name="new dependency",
        build=new_dependency,
        names=("demo",),
        disturb=another_dependency,
        forward=forward,
    ),
    Situation(
        name="held",
        build=held,
        names=("demo",),
        allow=lambda bed: bed.unhold("demo"),
        disturb=held_by_then,
        forward=forward_held,
    ),
    Situation(name="phased", build=phased, names=("demo",), disturb=newer, forward=forward),
    Situation(
        name="pinned",
        build=pinned,
        names=("demo",),
        allow=without_pin,
        disturb=lambda bed: bed.pin(PIN),
        forward=forward,
    ),
    Situation(name="conffile", build=conffile, names=("demo",), disturb=newer, forward=forward_conffile),
    Situation(
        name="failing postinst",
        build=failing_postinst,
        names=("demo", "other"),
        disturb=newer,
        forward=forward_failing,
    ),
    Situation(
        name="lock held",
        build=one_update,
        names=("demo",),
        disturb=newer,
        forward=forward,
        around=locked,
    ),
    Situation(name="interrupted", build=interrupted, names=("demo",), disturb=newer, back={"other": "1.0"}),
    Situation(
        name="interrupted, repair allowed",
        build=interrupted,
        names=("demo",),
        disturb=newer,
        back={"other": "1.0"},
        repair=True,
    ),
    Situation(
        name="mirror away",
        build=mirror_away,
        names=("demo",),
        disturb=held_by_then,
        forward=fetched_before,
    ),
)
