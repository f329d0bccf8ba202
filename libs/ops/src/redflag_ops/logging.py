"""One way to log for every program: constant event names, data as fields, one line a record.

A record is a JSON object on standard error with ``ts`` (UTC), ``level``, ``program``, ``event`` and the fields
given; context bound with ``structlog.contextvars`` (for example ``op``, the correlation id) comes with each.
Records of libraries that use the standard ``logging`` module take the same road. No value is longer than
``VALUE_MAX_CHARS``, so that what a peer sends cannot fill the disk with one line.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

VALUE_MAX_CHARS = 8192  # characters of one field; what is longer is cut and says so

LogFormat = Literal["json", "console"]
EventDict = MutableMapping[str, Any]


def _bound_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > VALUE_MAX_CHARS:
            event[name] = value[:VALUE_MAX_CHARS] + f"... [{len(value) - VALUE_MAX_CHARS} more characters]"
    return event


def configure(
    program: str, log_format: LogFormat = "json", *, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Set up logging for a program; call once, first thing in its ``main``.

    Args:
        program: the program's name, for example ``gateway``; stands in every record.
        log_format: ``json`` for machines, ``console`` for people.
        stream: where to write; standard error if not given.
        level: the lowest level that is written, as in the standard ``logging`` module.
    """
    out = sys.stderr if stream is None else stream

    def name_program(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["program"] = program
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        name_program,
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.types.Processor]
    if log_format == "json":
        renderer = [
            structlog.processors.format_exc_info,
            _bound_values,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        renderer = [_bound_values, structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="ts")]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # aiohttp's own access log would be a second record per request, without our fields.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def get_logger(**context: object) -> structlog.stdlib.BoundLogger:
    """Return a logger; the context given is in each of its records."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(**context)
    return logger
