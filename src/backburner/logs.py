"""Sets up logging once: structlog and the standard library's loggers through one redacting chain."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from backburner.plain_text import many_lines, one_line
from backburner.private_files import make_private
from backburner.redaction import redacted
from backburner.setting_fields import SettingError

_PROGRAM = "backburner"  # what our loggers' names begin with
#: Libraries that tell of every request or step at `info`.
_CHATTY = ("httpx2", "httpcore2", "hypercorn", "quart", "alembic", "anthropic", "trio_asyncio", "asyncio")
#: Text that may have more than one line.
_MULTILINE = frozenset({"exception", "stack"})

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(
    *, level: str, log_format: str, file: str | None = None, stream: TextIO | None = None, app: str | None = None
) -> None:
    """Send events of `level` and above to `file` if given, else to `stream` (standard error).

    What libraries say below `info` is not shown at any level: it may be whole requests, with prompts and headers.
    `app` names the user's module, which is no library.

    May be called again; the last call counts. Raises SettingError when the file cannot be written.
    """
    handler = _handler(file, stream or sys.stderr)
    handler.setFormatter(_formatter(log_format, colors=file is None and (stream or sys.stderr).isatty()))
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    own = (_PROGRAM, *([app.partition(":")[0].partition(".")[0]] if app else []))
    handler.addFilter(partial(_is_discreet, own))
    root.addHandler(handler)
    # Not even made, as far as loggers can be told: some put together a whole request for it.
    root.setLevel(max(threshold, logging.INFO))
    for name in own:
        logging.getLogger(name).setLevel(threshold)
    chatty = logging.INFO if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(chatty)
    logging.captureWarnings(True)
    _configure_structlog(threshold)


def _is_discreet(own: tuple[str, ...], record: logging.LogRecord) -> bool:
    """A library may also have set its level itself, as Anthropic's does by ANTHROPIC_LOG."""
    return record.levelno >= logging.INFO or record.name.partition(".")[0] in own


def _configure_structlog(threshold: int) -> None:
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _handler(file: str | None, stream: TextIO) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(stream)
    try:
        return _PrivateFile(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SettingError(f"Setting log_file: cannot write {file!r}: {error.strerror}.") from None


class _PrivateFile(logging.handlers.WatchedFileHandler):
    """Watched, so that logrotate may move the file away; every file that it makes is for its owner only."""

    def _open(self) -> TextIOWrapper:
        make_private(Path(self.baseFilename))
        return super()._open()


def _formatter(log_format: str, *, colors: bool) -> logging.Formatter:
    last: list[Processor]
    if log_format == "json":
        last = [structlog.processors.JSONRenderer()]
    else:
        last = [_on_one_line, structlog.dev.ConsoleRenderer(colors=colors)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact,
            *last,
        ],
    )


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """After tracebacks have become text, so that what they quote is seen too."""
    cleaned: EventDict = redacted(event)
    return cleaned


def _on_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What others sent us cannot write lines of its own into the log, nor move a terminal's cursor."""
    return {key: _harmless(key, value) for key, value in event.items()}


def _harmless(key: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return many_lines(value) if key in _MULTILINE else one_line(value)
