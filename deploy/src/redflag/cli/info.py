"""`redflag version`: what runs here, and what answers at the server."""

from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, Common
from redflag.cli.output import Cell, Output
from redflag.cli.problems import CliError
from redflag.cli.run import Session, run, run_alone


def version(*, client: bool = False, common: Common = COMMON) -> int:
    """Show the version and build of this command and of the server.

    Parameters
    ----------
    client
        Only of this command; no server is asked.
    """
    from redflag_ops.build_info import build, release  # noqa: PLC0415 - `--help` needs none of it

    known = build()
    own: Json = {
        "version": release("redflag"),
        "build": None if known is None else {"commit": known.commit, "source": known.source},
    }
    if client:

        async def alone(out: Output) -> ExitCode:
            _print(out, own, None)
            return ExitCode.DONE

        return run_alone(common, alone)

    async def work(session: Session) -> ExitCode:
        try:
            server = await session.api.get("/info")
        except CliError:
            _print(session.out, own, None)
            raise
        _print(session.out, own, {name: server.get(name) for name in ("version", "build", "api", "time")})
        return ExitCode.DONE

    return run(common, work)


def _print(out: Output, own: Json, server: Json | None) -> None:
    if out.as_json:
        out.json({"client": own, "server": server})
        return
    fields: list[tuple[str, Cell]] = [("Client", _words(own))]
    if server is not None:
        fields.append(("Server", _words(server)))
    out.fields(fields)


def _words(one: Json) -> str:
    build = one.get("build")
    if not isinstance(build, dict):
        return f"{one.get('version')} (build not known)"
    return f"{one.get('version')} ({build.get('source')} {str(build.get('commit'))[:12]})"
