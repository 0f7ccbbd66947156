"""The knobs of a server itself: where it is, its provider, its database, what it lets in."""

from __future__ import annotations

import attrs

from backburner.setting_fields import choice, number, setting, switch, text, whole

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
DAY = 86_400

_POSTGRESQL = r"postgres(ql)?(\+psycopg)?://.+"
_DATABASE = text(rf"sqlite:///.+|{_POSTGRESQL}", "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
_DIRECT = text(_POSTGRESQL, "postgresql://USER:PASSWORD@HOST/NAME", optional=True)
_URL = r"https?://[^\s/?#]+\S*"
_HOST = text(r"[A-Za-z0-9_.:\-]+", "a host name or an IP address")
_KEY = text(r"[\x21-\x7e]+", "the key that the provider's console shows, on one line", optional=True)
_BOOTSTRAP = text(r"bb_[A-Za-z0-9_\-]{24,}", "bb_ and at least 24 of A-Z a-z 0-9 _ -", optional=True)
_WEBHOOK = text(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}", "whsec_ and the base64 of 24 to 64 bytes", optional=True)


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The part of `Settings` that every server needs."""

    # Where it is
    database_url: str = setting(
        _DATABASE,
        "sqlite:///backburner.db",
        "Where jobs are kept; a relative path is relative to the working directory.",
    )
    database_direct_url: str | None = setting(
        _DIRECT,
        None,
        "The same PostgreSQL database past the transaction pooler that `database_url` goes through: for leading, "
        "notifications and migrations.",
    )
    host: str = setting(_HOST, "127.0.0.1", "The address the HTTP server listens on.")
    port: int = setting(whole(0, 65_535), 8283, "The port the HTTP server listens on; 0 takes a free one.")
    public_url: str | None = setting(
        text(_URL, "an http or https URL", optional=True),
        None,
        "How others reach this server, where a proxy stands before it.",
    )
    sqlite_standby: bool = setting(
        switch(), False, "Wait for the SQLite file when another process holds it, instead of refusing to start."
    )
    migrate: bool = setting(
        switch(), False, "Bring an old PostgreSQL schema up to date at start. SQLite needs no asking."
    )
    shutdown_grace_seconds: float = setting(
        number(0.1, 3600), 15.0, "How long an ordered stop may take before it is cut short.", unit="seconds"
    )

    # Keys
    bootstrap_key: str | None = setting(
        _BOOTSTRAP, None, "The admin key of the first start; without it one is made and printed once.", secret=True
    )
    webhook_secret: str | None = setting(
        _WEBHOOK, None, "What signs the first organization's webhooks; without it one is made.", secret=True
    )
    metrics_public: bool = setting(switch(), False, "Serve /metrics without a key.")

    # Provider
    provider: str | None = setting(
        choice("anthropic", "sandbox", optional=True),
        None,
        "Who runs the batches; when not set, anthropic if its key is set, else the simulated sandbox.",
    )
    anthropic_api_key: str | None = setting(_KEY, None, "The key of the Anthropic account that pays.", secret=True)
    anthropic_base_url: str = setting(
        text(_URL, "an http or https URL"), "https://api.anthropic.com", "Where the Anthropic API is."
    )
    llm_request_timeout_seconds: float = setting(
        number(0.1, 3600),
        60.0,
        "How long a call to the provider may make no progress; not a limit in total.",
        unit="seconds",
        seed_name=True,
    )
    provider_max_queued_items: int = setting(
        whole(1, 100_000_000),
        200_000,
        "How many items may wait at the provider; the others are held here.",
        unit="items",
    )
    submit_settle_seconds: float | None = setting(
        number(0, DAY, optional=True),
        None,
        "How long after the end of a submission of unknown outcome it may be made again: from the failure that its "
        "sender saw, or else from the begin of the term that found it open. When not set, 120; with the sandbox inside "
        "the process, 1.",
        unit="seconds",
    )

    # Splitting
    chunk_items: int | None = setting(
        whole(1, 100_000, optional=True),
        None,
        "Items in one provider batch, at most; when not set, a twentieth of the job, but 1,000 to 10,000.",
        unit="items",
    )
    chunk_bytes: int = setting(
        whole(1024, 256 * MEBIBYTE), 16 * MEBIBYTE, "Size of one provider batch, about.", unit="bytes"
    )

    # Polling
    enable_batch_job_polling: bool = setting(
        switch(), True, "Submit and poll batches at all. Without it this instance never leads.", seed_name=True
    )
    poll_running_llm_batches_interval_seconds: float = setting(
        number(0.05, DAY), 60.0, "Time between two polling cycles.", unit="seconds", seed_name=True
    )
    poll_jitter_seconds: float = setting(
        number(0, 3600),
        10.0,
        "By how much a cycle comes early or late; never more than a quarter of the interval.",
        unit="seconds",
    )
    batch_job_polling_lookback_weeks: int = setting(
        whole(1, 520),
        2,
        "Batches that the provider is at work on for longer than this are expired and called back.",
        unit="weeks",
        seed_name=True,
    )
    batch_job_polling_batch_size: int = setting(
        whole(1, 100_000), 1000, "How many due batches one page of a cycle reads.", unit="batches", seed_name=True
    )
    poll_lock_retry_interval_seconds: float = setting(
        number(0.05, 3600), 1.0, "How often a standby tries to take the lead.", unit="seconds", seed_name=True
    )
    poll_concurrency: int = setting(whole(1, 10_000), 64, "Polls in flight at once, at most.", unit="polls")

    # Requests
    max_request_bytes: int = setting(
        whole(1024, 16 * GIBIBYTE),
        256 * MEBIBYTE,
        "Size of a request that brings a batch, after decoding.",
        unit="bytes",
    )
    max_items_per_job: int = setting(whole(1, 100_000_000), 1_000_000, "Items in one job, at most.", unit="items")
    rate_limit_requests_per_second: float | None = setting(
        number(0.001, 1e6, optional=True),
        None,
        "Requests that one key may make, in the long run; when not set, any number.",
        unit="requests per second",
    )
    rate_limit_burst: int = setting(
        whole(1, 1_000_000), 100, "Requests that a key with a rate limit may make at once.", unit="requests"
    )
    max_connections: int = setting(
        whole(1, 1_000_000), 1000, "Connections of clients at once; fewer where files are short.", unit="connections"
    )
    max_connections_per_address: int = setting(
        whole(1, 1_000_000), 100, "Of them, those of one address; loopback may have all.", unit="connections"
    )
    keep_alive_seconds: float = setting(
        number(1, DAY),
        75.0,
        "How long a connection may idle, or take to send the headers of a request; more than the proxy before it.",
        unit="seconds",
    )
    client_stall_seconds: float = setting(
        number(1, DAY),
        300.0,
        "How long a client may send nothing of its request, or read less than 64 KiB of its answer.",
        unit="seconds",
    )
    min_upload_bytes_per_second: float = setting(
        number(300, 1e9),
        1000.0,
        "What a request's body must bring in the long run; only time spent waiting for the client counts.",
        unit="bytes per second",
    )
    auth_failures_per_minute: float | None = setting(
        number(0.1, 1e6, optional=True),
        60.0,
        "Requests with a wrong key that are taken from one address, in the long run; loopback may make any number.",
        unit="requests per minute",
    )
    quota_open_jobs: int | None = setting(
        whole(0, 100_000_000, optional=True),
        None,
        "Jobs of one organization that have not ended; when not set, any number.",
        unit="jobs",
    )
    quota_items_per_day: int | None = setting(
        whole(0, 10**12, optional=True),
        None,
        "Items that one organization may submit in a day (of UTC); when not set, any number.",
        unit="items",
    )
    quota_bytes_per_day: int | None = setting(
        whole(0, 10**15, optional=True),
        None,
        "Bytes of requests and inputs that one organization may submit in a day (of UTC); when not set, any number.",
        unit="bytes",
    )
    audit_retention_days: int = setting(
        whole(1, 36_500), 730, "Rows of the audit log older than this are deleted.", unit="days"
    )

    # Letta's clients
    letta_default_model: str = setting(
        text(r"\S+", "the name of a model"),
        "claude-haiku-4-5",
        "The model of a request that comes by `/letta` and names none.",
    )
    letta_default_max_tokens: int = setting(
        whole(1, 10_000_000), 4096, "`max_tokens` of a request that comes by `/letta` and names none.", unit="tokens"
    )

    # Writing
    write_window_seconds: float = setting(
        number(0, 10), 0.02, "How long the bulk writer gathers before it commits.", unit="seconds"
    )
    write_rows: int = setting(whole(1, 1_000_000), 4000, "Rows of one bulk transaction, at most.", unit="rows")
    write_bytes: int = setting(
        whole(1024, GIBIBYTE), 8 * MEBIBYTE, "Size of one bulk transaction, about.", unit="bytes"
    )

    # PostgreSQL and threads
    pg_pool_size: int = setting(
        whole(1, 10_000), 25, "Connections to PostgreSQL that are kept.", unit="connections", seed_name=True
    )
    pg_max_overflow: int = setting(
        whole(0, 10_000),
        10,
        "Connections to PostgreSQL beyond those, while needed.",
        unit="connections",
        seed_name=True,
    )
    pg_pool_timeout: float = setting(
        number(0.1, 3600),
        30.0,
        "How long to wait for a connection before answering 503.",
        unit="seconds",
        seed_name=True,
    )
    pg_pool_recycle: float = setting(
        number(1, DAY), 1800.0, "Age at which a connection is replaced.", unit="seconds", seed_name=True
    )
    event_loop_threadpool_max_workers: int = setting(
        whole(1, 10_000), 40, "Worker threads for database and encoding.", unit="threads", seed_name=True
    )
