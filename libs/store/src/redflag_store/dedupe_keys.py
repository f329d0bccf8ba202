"""What counts as the same request to one host: at most one pending command per agent and key. Pure.

The one place of these keys: the API's requests, bulk jobs and the scheduler must find each other's commands.
"""

from collections.abc import Mapping

from redflag_wire.command_params import CommandKind


def dedupe_key(kind: CommandKind | str, params: Mapping[str, object]) -> str:
    """The key of a command.

    Installing and rolling back share one: a host changes its packages for one command at a time. Switching fast
    mode on and off share one too, so that they cannot overtake each other.

    Args:
        kind: of the command.
        params: as they fit the kind's schema.

    Raises:
        ValueError: there is no such kind.
    """
    kind = CommandKind(kind)
    match kind:
        case CommandKind.SCAN:
            return f"scan:{params.get('subsystem', 'all')}"
        case CommandKind.DRY_RUN_UPDATE:
            return f"plan:{params['manager']}"
        case CommandKind.INSTALL_UPDATES | CommandKind.ROLLBACK_UPDATE:
            return "install"
        case CommandKind.ENABLE_HEARTBEAT | CommandKind.DISABLE_HEARTBEAT:
            return "heartbeat"
        case CommandKind.CANCEL:
            return f"cancel:{params['cmd']}"
        case _:
            return kind.value
