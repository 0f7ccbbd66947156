"""Every knob of one server, with its meaning, its unit, its default and its bounds."""

from __future__ import annotations

import attrs

from backburner.server_settings import DAY, GIBIBYTE, MEBIBYTE, ServerSettings
from backburner.setting_fields import choice, number, pairs, ports, setting, switch, text, whole


@attrs.frozen(kw_only=True)
class Settings(ServerSettings):
    """How one server runs. A value that is not allowed raises SettingError, whoever makes the object."""

    # Background jobs
    app: str | None = setting(
        text(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?", "MODULE:NAME", optional=True),
        None,
        "The user's module with handlers and tools, and what its App is called there.",
    )
    job_tasks: int = setting(whole(1, 100_000), 100, "`async def` handlers at work at once.", unit="jobs")
    job_threads: int = setting(whole(1, 10_000), 16, "`def` handlers at work at once, in threads.", unit="jobs")
    job_processes: int | None = setting(
        whole(1, 1000, optional=True), None, "Handlers at work in processes; when not set, one a core.", unit="jobs"
    )
    dask_scheduler: str | None = setting(
        text(r"(tcp|tls|ws|wss)://[^\s/]+:\d+", "tcp://HOST:PORT", optional=True),
        None,
        'The scheduler of the Dask cluster where handlers with `executor="dask"` run.',
    )
    dask_jobs: int = setting(whole(1, 100_000), 100, "Handlers at work on the cluster at once.", unit="jobs")
    job_process_memory_bytes: int | None = setting(
        whole(MEBIBYTE, 1024 * GIBIBYTE, optional=True),
        None,
        "What a job in a process may use, where its handler does not say; when not set, any amount.",
        unit="bytes",
    )
    jobs_per_organization: int = setting(
        whole(1, 1_000_000), 1000, "Jobs of one organization at work at once on this instance.", unit="jobs"
    )
    max_queued_jobs: int = setting(
        whole(1, 100_000_000), 100_000, "Jobs that may wait for a handler; then new ones are refused.", unit="jobs"
    )
    job_lease_seconds: float = setting(
        number(1, 3600),
        30.0,
        "How long a job stays with an instance that is not heard of; renewed three times as often.",
        unit="seconds",
    )

    # Agents
    round_window_seconds: float = setting(
        number(0, 3600), 2.0, "How long conversations of agents gather for their next provider batch.", unit="seconds"
    )
    tool_concurrency: int = setting(whole(1, 10_000), 64, "Tools of agents at work at once, at most.", unit="calls")

    # Files
    max_file_bytes: int = setting(
        whole(1, 1024 * GIBIBYTE), 16 * GIBIBYTE, "Size of one uploaded file, at most.", unit="bytes"
    )
    quota_file_bytes: int | None = setting(
        whole(0, 10**15, optional=True),
        None,
        "What one organization's uploaded files may have together; when not set, any size.",
        unit="bytes",
    )
    file_retention_days: float = setting(
        number(0.001, 3650), 3.0, "Uploaded files that nobody has used for so long are deleted.", unit="days"
    )
    ingest_folder: str | None = setting(
        text(r".+", "a path", optional=True),
        None,
        "The folder below which `ingest_file` reads files of this machine; when not set, it reads none.",
    )

    # Webhooks
    callback_timeout_seconds: float = setting(
        number(0.1, 300), 5.0, "How long one attempt of a webhook may take in total.", unit="seconds"
    )
    callback_concurrency: int = setting(whole(1, 10_000), 64, "Webhooks in flight at once, at most.", unit="webhooks")
    callback_ports: frozenset[int] | None = setting(
        ports(),
        "80,443,8080,8443",
        "The ports that webhooks and HTTP tools may call. Any port is a way to look around with this server's eyes.",
    )
    callback_allow_private_networks: bool = setting(
        switch(), False, "Let webhooks go to private, loopback and link-local addresses, and to any port."
    )

    # What tenants may ask of the provider
    tenant_provider_headers: frozenset[str] = setting(
        pairs("anthropic-beta", "anthropic-workspace-id", "anthropic-user-profile-id"),
        "",
        "Headers that organizations other than the first may send to the provider with their batches, beside the "
        "version and the beta of batches itself. What they ask for is asked for with your key.",
    )

    # Logs
    log_level: str = setting(
        choice("debug", "info", "warning", "error"),
        "info",
        "The least important events shown; of libraries none below `info`, since they would show prompts.",
    )
    log_format: str = setting(choice("text", "json"), "text", "One line of text or one JSON object for each event.")
    log_file: str | None = setting(
        text(r".+", "a path", optional=True), None, "Write events to this file instead of to standard error."
    )

    # The simulated provider
    sandbox_seed: int = setting(whole(0, 2**63 - 1), 0, "Where the sandbox's randomness starts.")
    sandbox_latency_seconds: float = setting(
        number(0, 60), 0.0, "How long the sandbox waits before each answer.", unit="seconds"
    )
    sandbox_batch_seconds: float = setting(
        number(0, 30 * DAY), 2.0, "How long a batch takes at the sandbox, about.", unit="seconds"
    )
    sandbox_speed: float = setting(number(0.001, 1e9), 1.0, "How many times faster than that the sandbox works.")
    sandbox_errored_share: float = setting(number(0, 1), 0.0, "The share of the sandbox's items that err.")
    sandbox_expired_share: float = setting(number(0, 1), 0.0, "The share of the sandbox's items that expire.")
    sandbox_canceled_share: float = setting(number(0, 1), 0.0, "The share of the sandbox's items that are canceled.")
    sandbox_faults: str = setting(
        text(r"[^\n]*", "faults as `backburner sandbox --fault` takes them, with blanks between"),
        "",
        "What shall go wrong at the sandbox, for trying out.",
    )

    @property
    def provider_name(self) -> str:
        """The provider that is used: the one set, else anthropic if there is a key for it, else sandbox."""
        return self.provider or ("anthropic" if self.anthropic_api_key else "sandbox")
