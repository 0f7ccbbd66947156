# Makes .venv with everything that requirements.lock names, and this project. Sourced by the scripts beside it, from the
# project's folder. Does nothing when neither the lock file nor pyproject.toml has changed since.
. scripts/_python.sh

_setup_stamp() {
    # The interpreter and the place too: a virtual environment cannot be moved.
    { cat requirements.lock pyproject.toml; "$PYTHON" --version; pwd; } | "$PYTHON" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

_setup() {
    local stamp
    stamp=$(_setup_stamp)
    [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ] && return
    echo "Setting up .venv (once; takes a minute or two) …" >&2
    "$PYTHON" -m venv .venv
    local pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" install --require-hashes --no-deps -r requirements.lock
    "${pip[@]}" install --no-deps --no-build-isolation --no-index --editable .
    echo "$stamp" >.venv/.stamp
}

_setup
