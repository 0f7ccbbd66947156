# Sets PYTHON to an interpreter of version 3.11 or later. Sourced by the scripts beside it.
PYTHON=${PYTHON:-}
if [ -z "$PYTHON" ]; then
    # 3.11 first: the lock file was made with it.
    for candidate in python3.11 python3 python3.12 python3.13 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            PYTHON=$candidate
            break
        fi
    done
fi
if [ -z "$PYTHON" ]; then
    echo "Python 3.11 or later is needed and was not found. Set PYTHON to where it is." >&2
    exit 1
fi
