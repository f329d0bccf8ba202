"""Jobs: asking many hosts for the same, following that, and stopping it."""

import json
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.intents import PAYLOAD_MAX_BYTES
from redflag_dashboard.job_rules import COMMANDS, Asked, JobKind, ask_all, ask_for_plans, targets_of_intents
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.jobs import (
    Job,
    JobInFull,
    JobItem,
    JobItemsQuery,
    JobPath,
    JobRequest,
    JobsQuery,
    PlanJobParams,
    left_out_to_store,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store import dedupe_keys
from redflag_store.queries import jobs as queries
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.intents import IntentData
from redflag_store.queries.job_selection import SelectedHost, approved_packages, select_hosts
from redflag_store.queries.jobs import MAX_ITEMS, NewItem
from redflag_store.queries.refusals import JobEndedError, NoSuchJobError
from redflag_store.queries.settings import read_settings
from redflag_store.states import AgentState
from redflag_wire.command_params import PlanMode, parse_params
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.intent import IntentVerb

INTENTS_MAX = 2_000  # signed in one request; hosts asked for the same share one


async def create(call: Call[Nothing, Nothing, JobRequest]) -> Answer:
    """Ask many hosts for the same; who is asked is decided now."""
    body = call.body
    hosts = await _hosts(call)
    kind, verb = COMMANDS[body.kind]
    minimum = (await read_settings(call.tx)).version("agents.minimum_version")
    if body.kind is JobKind.PLAN:
        asked = await _plans(call, hosts, minimum)
    else:
        asked = ask_all(hosts, kind, _params(body), minimum)
    if not asked.count:
        raise ProblemError(ProblemCode.NO_HOSTS, _nobody(asked))
    items = await _signed(call, asked, verb)
    first = json.loads(next(iter(asked.groups)))
    job_id = await queries.create_job(
        call.tx,
        call.parts.clock,
        verb=verb.value,
        kind=kind.value,
        params=first,
        items=items,
        requested_by=call.operator,
        op=call.op,
        dedupe_key=dedupe_keys.dedupe_key(kind, first),
        left_out=left_out_to_store(asked.left_out),
        random=call.parts.random,
    )
    view = await queries.get_job(call.tx, job_id)
    if view is None:
        raise RuntimeError("the job just created is not there")
    headers = {"Location": f"{PREFIX}/jobs/{job_id}"}
    return Answer(JobInFull.of(view), status=202, headers=headers)


async def _hosts(call: Call[Nothing, Nothing, JobRequest]) -> list[SelectedHost]:
    body = call.body
    if body.hosts is not None:
        wanted = HostFilter(ids=tuple(await host_lookup.host_ids(call.tx, body.hosts)))
    elif body.filter is not None:
        # Only active hosts take commands; who asks for others says so and is told.
        chosen = (
            body.filter if body.filter.state else body.filter.model_copy(update={"state": AgentState.ACTIVE})
        )
        wanted = await host_lookup.filter_of(call.tx, chosen)
    else:
        wanted = HostFilter(state=AgentState.ACTIVE)
    hosts = await select_hosts(call.tx, wanted, most=MAX_ITEMS)
    if len(hosts) > MAX_ITEMS:
        raise ProblemError(
            ProblemCode.TOO_MANY_HOSTS, f"a job is for at most {MAX_ITEMS} hosts; choose fewer"
        )
    return hosts


def _params(body: JobRequest) -> dict[str, Any]:
    kind, _ = COMMANDS[body.kind]
    try:
        return parse_params(kind, body.params).model_dump(mode="json")
    except SchemaRefusedError as error:
        raise _misfit(error.detail) from None


def _misfit(detail: str) -> ProblemError:
    return ProblemError(
        ProblemCode.INVALID_REQUEST,
        f"body/params: {detail}",
        extra={"errors": [{"where": "body/params", "message": detail}]},
    )


async def _plans(
    call: Call[Nothing, Nothing, JobRequest], hosts: list[SelectedHost], minimum: str | None
) -> Asked:
    try:
        params = PlanJobParams.model_validate_json(json.dumps(call.body.params), strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _misfit(": ".join((*map(str, fault["loc"]), fault["msg"]))) from None
    by_name = params.mode is PlanMode.PACKAGES
    approved = await approved_packages(call.tx, [host.id for host in hosts]) if by_name else {}
    return ask_for_plans(hosts, approved, mode=params.mode, manager=params.manager, minimum=minimum)


def _nobody(asked: Asked) -> str:
    if not asked.left_out:
        return "no active host matches"
    codes = sorted({one.code for one in asked.left_out})
    return f"none of the {len(asked.left_out)} hosts that match can be asked: {', '.join(codes)}"


async def _signed(call: Call[Nothing, Nothing, JobRequest], asked: Asked, verb: IntentVerb) -> list[NewItem]:
    """Sign and store the intents; the items that lie within them."""
    kind, _ = COMMANDS[call.body.kind]
    several = len(asked.groups) > 1
    items: list[NewItem] = []
    intents: list[IntentData] = []
    for written, hosts in asked.groups.items():
        params = json.loads(written)
        own = params if several else None
        key = dedupe_keys.dedupe_key(kind, params)
        try:
            parts = list(targets_of_intents(written, hosts, payload_max=PAYLOAD_MAX_BYTES))
        except ValueError:
            raise ProblemError(
                ProblemCode.TOO_MANY_PACKAGES,
                f"what is approved on host {hosts[0]} does not fit one plan; plan it alone",
            ) from None
        for part in parts:
            intent = commanding.intent_of(call, verb, list(part), params)
            intents.append(intent)
            items += [NewItem(host, intent.id, own, key if several else None) for host in part]
        if len(intents) > INTENTS_MAX:
            raise ProblemError(
                ProblemCode.TOO_MANY_HOSTS,
                f"the hosts differ in more than {INTENTS_MAX} ways in what is approved; choose fewer at once",
            )
    for intent in intents:
        await commanding.store(call, intent)
    return items


async def list_(call: Call[Nothing, JobsQuery, Nothing]) -> Answer:
    """List jobs, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    kind = None if query.kind is None else COMMANDS[query.kind][0].value
    async with call.parts.sessions() as session:
        page = await queries.list_jobs(session, state=query.state, kind=kind, after=after, limit=query.limit)
    last = page.rows[-1].job if page.more else None
    return Answer(
        Page[Job](
            items=[Job.of(view) for view in page.rows],
            next=None if last is None else cursor.encode((last.requested_at, last.id)),
            total=page.total,
        )
    )


async def show(call: Call[JobPath, Nothing, Nothing]) -> Answer:
    """Show how far a job is."""
    async with call.parts.sessions() as session:
        view = await queries.get_job(session, call.path.job)
    if view is None:
        raise _not_found(call.path.job)
    return Answer(JobInFull.of(view))


async def items(call: Call[JobPath, JobItemsQuery, Nothing]) -> Answer:
    """List a job's hosts and what became of each."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.POSITION_KEY)
    async with call.parts.sessions() as session:
        if await queries.get_job(session, call.path.job) is None:
            raise _not_found(call.path.job)
        page = await queries.job_items(
            session,
            call.path.job,
            state=query.state,
            after=None if after is None else after[0],
            limit=query.limit,
        )
    last = page.rows[-1].item if page.more else None
    return Answer(
        Page[JobItem](
            items=[JobItem.of(view) for view in page.rows],
            next=None if last is None else cursor.encode((last.position,)),
            total=page.total,
        )
    )


async def cancel(call: Call[JobPath, Nothing, Nothing]) -> Answer:
    """Stop a job: what was not asked yet never is, what was is cancelled."""
    job_id = call.path.job
    intent = commanding.intent_of(call, IntentVerb.CANCEL_COMMAND, [], {"job": str(job_id)})
    try:
        await queries.cancel_job(
            call.tx, call.parts.clock, job_id=job_id, intent=intent, requested_by=call.operator
        )
    except NoSuchJobError:
        raise _not_found(job_id) from None
    except JobEndedError as error:
        raise ProblemError(ProblemCode.JOB_ENDED, f"job {job_id} is {error.state} already") from None
    view = await queries.get_job(call.tx, job_id)
    if view is None:
        raise _not_found(job_id)
    return Answer(JobInFull.of(view), status=202)


def _not_found(job_id: UUID) -> ProblemError:
    return ProblemError(ProblemCode.JOB_NOT_FOUND, f"there is no job {job_id}")


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/jobs", "jobs_create", "Ask many hosts for the same", create, JobInFull, Nothing, Nothing,
        JobRequest, "jobs", status=202, scope=Scope.WRITE, changes=True,
        problems=(
            *host_lookup.FILTER_PROBLEMS, ProblemCode.NO_HOSTS, ProblemCode.TOO_MANY_HOSTS,
            ProblemCode.TOO_MANY_PACKAGES,
        ),
    ),
    Route("GET", "/jobs", "jobs_list", "List jobs", list_, Page[Job], Nothing, JobsQuery, Nothing, "jobs"),
    Route(
        "GET", "/jobs/{job}", "jobs_show", "Show how far a job is", show, JobInFull, JobPath, Nothing, Nothing, "jobs",
        problems=(ProblemCode.JOB_NOT_FOUND,),
    ),
    Route(
        "GET", "/jobs/{job}/items", "jobs_items", "List a job's hosts and what became of each", items,
        Page[JobItem], JobPath, JobItemsQuery, Nothing, "jobs", problems=(ProblemCode.JOB_NOT_FOUND,),
    ),
    Route(
        "POST", "/jobs/{job}/cancel", "jobs_cancel", "Stop a job", cancel, JobInFull, JobPath, Nothing, Nothing,
        "jobs", status=202, scope=Scope.WRITE, changes=True,
        problems=(ProblemCode.JOB_NOT_FOUND, ProblemCode.JOB_ENDED),
    ),
)  # fmt: skip
