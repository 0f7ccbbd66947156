"""The command `backburner`: its help and the table of its commands."""

from __future__ import annotations

import click

from backburner import __version__
from backburner.cli.lazy import Entry, LazyGroup

_HELP = """A durable, self-hosted server for LLM work that can wait.

\b
New here? Three commands:
  backburner demo                     see a batch of 1,000 items run, with nothing to set up
  backburner serve                    start a server, its database and its first key
  backburner submit FILE --wait       send it a batch (one JSON request a line) and watch

\b
Exit codes: 0 ok, 1 failed or refused by the server, 2 usage (also a file that cannot be read), 3 not found,
4 finished with item errors, 5 cancelled, 6 timeout.
"""

_ENTRIES = {
    "serve": Entry("backburner.cli.serve:serve", "Run a server."),
    "demo": Entry("backburner.cli.demo:demo", "Run a batch through a temporary server and a simulated provider."),
    "sandbox": Entry("backburner.cli.sandbox:sandbox", "Run the simulated Message Batches service alone."),
    "submit": Entry("backburner.cli.submit:submit", "Send a batch of requests."),
    "ingest": Entry(
        "backburner.cli.ingest:ingest", "Upload a large file (CSV and Parquet too) and make a batch of it."
    ),
    "watch": Entry("backburner.cli.watch:watch", "Follow a job until it ends."),
    "results": Entry("backburner.cli.results:results", "Download a batch's results."),
    "retry": Entry("backburner.cli.jobs:retry", "Run the failed items of a batch again, as a new job."),
    "cancel": Entry("backburner.cli.jobs:cancel", "Cancel a job; finished items are kept."),
    "jobs": Entry("backburner.cli.jobs:jobs", "List, show and delete jobs."),
    "deliveries": Entry("backburner.cli.deliveries:deliveries", "List a job's webhooks and send them again."),
    "batches": Entry("backburner.cli.batches:batches", "See provider batches; adopt or abandon those of unknown fate."),
    "scheduler": Entry("backburner.cli.scheduler:scheduler", "Poll now, pause, resume, step down."),
    "status": Entry("backburner.cli.status:status", "Show what the server is doing."),
    "keys": Entry("backburner.cli.keys:keys_group", "Create, list and revoke API keys."),
    "profiles": Entry("backburner.cli.profiles:profiles_group", "Know servers by name; choose one."),
    "db": Entry("backburner.cli.db:db", "Upgrade, check, back up and restore the database."),
    "doctor": Entry("backburner.cli.doctor:doctor", "Find out what is wrong with this installation."),
}

root = LazyGroup(
    "backburner",
    entries=_ENTRIES,
    help=_HELP,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120, "show_default": True},
)
click.version_option(__version__, prog_name="backburner")(root)
