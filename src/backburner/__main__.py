"""The program's entry."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from backburner.cli.exits import Exit, exit_code, lines, only_cause
from backburner.cli.output import say
from backburner.cli.root import root
from backburner.errors import BackburnerError


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], obj: object = None) -> int:
    """Run one command; its exit code. Expected errors become lines on standard error."""
    try:
        code = root.main(list(arguments), prog_name="backburner", standalone_mode=False, obj=obj)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except (BackburnerError, BaseExceptionGroup) as error:
        return _fail(error)
    return code if isinstance(code, int) else Exit.OK


def _fail(error: BaseException) -> int:
    cause = only_cause(error)
    if isinstance(cause, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if not isinstance(cause, BackburnerError):
        raise error
    for line in lines(cause):
        say(line)
    return exit_code(cause)


if __name__ == "__main__":
    if getattr(sys, "frozen", False):
        import multiprocessing

        from backburner.parent_watch import die_with_parent

        multiprocessing.freeze_support()  # worker processes of the single executable begin here too, and stay in it
        # What was started is a loader, which unpacks the program and starts it as a child. Whoever kills the loader
        # means the program, and is not to leave it behind with lock and port.
        die_with_parent()
    main()
