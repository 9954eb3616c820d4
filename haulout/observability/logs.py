"""Logs: structlog, for people on a terminal and as JSON lines for machines.

An event is a short sentence; what varies goes into fields with units in their names. Nothing secret is ever a
field. What is said while a traced request is served carries its trace id.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

from haulout.observability import tracing
from haulout.observability.light_import import import_without

if TYPE_CHECKING:
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, Processor
else:
    # It loads rich wherever that is installed, only to offer tracebacks that are not used here: 0.2 s of every start.
    structlog = import_without("structlog", "rich")

Format = Literal["auto", "human", "json"]
LEVELS = ("debug", "info", "warning", "error")


def configure_logs(*, log_format: Format = "auto", level: str = "info", process: str = "") -> None:
    """Set up logging for a process; called once, by its composition root.

    Args:
        log_format: `auto` is human on a terminal and JSON otherwise.
        level: the least important level that is written.
        process: name bound to every line, as `node-3`.
    """
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if not human else structlog.dev.set_exc_info,
    ]
    renderer: Processor = (
        # Plain tracebacks: the fancy ones print local variables, and one of them may be a key.
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if human
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    foreign = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, renderer])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(foreign)
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    if process:
        structlog.contextvars.bind_contextvars(process=process)


def get_logger(room: str) -> FilteringBoundLogger:
    """A logger whose lines carry the room they come from."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def _add_trace(_: object, __: str, event: EventDict) -> EventDict:
    ids = tracing.span_ids()
    if ids is not None:
        event.setdefault("trace_id", ids[0])
        event.setdefault("span_id", ids[1])
    return event


def _drop_meta(_: object, __: str, event: EventDict) -> EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
