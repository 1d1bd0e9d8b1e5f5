#!/bin/sh
# Holds a running server against its own description: thousands of requests made from it, all answers judged by it.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/schemathesis.sh [-h] [URL]

Validates src/api/openapi.json, then lets schemathesis, with all its checks, look
for answers that differ from it: those of the server at URL or, without URL, of
one that is built and started here, with an embedded limiter that never denies.
EXAMPLES sets how many examples are made of each operation (default 25).

Needs python3 with venv, pip and, unless URL is given, a Rust toolchain. Installs
schemathesis and openapi-spec-validator below the target directory, not elsewhere.
Exit 0 when nothing was found, 1 when something was, 2 when it could not look.
EOF
}

case "${1:-}" in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
url=${1:-}
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
venv=$target/schemathesis
work=$(mktemp -d)
server=

finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 2' INT TERM

fail() {
    echo "schemathesis.sh: $*" >&2
    exit 2
}

# Fixed, so that a run means the same tomorrow; raised by hand.
wanted='schemathesis==4.32.5 openapi-spec-validator==0.9.0'
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv --clear "$venv" || fail "python3 cannot make a virtual environment; install python3-venv"
    # shellcheck disable=SC2086 # two words are meant
    "$venv/bin/pip" install --quiet --disable-pip-version-check $wanted || fail "the installation failed"
    echo "$wanted" >"$venv/wanted"
fi

"$venv/bin/openapi-spec-validator" src/api/openapi.json || exit 1

if [ -z "$url" ]; then
    cargo build --locked --quiet || fail "the server cannot be built"
    # From an empty directory, so that no .env has a say.
    (cd "$work" && exec env -i LISTEN=127.0.0.1:0 RATE_LIMIT=1000000000 REFILL_RATE=1000000 "$target/debug/tollgate") \
        2>"$work/log" &
    server=$!
    tries=0
    until url=$(grep -om1 'http://127\.0\.0\.1:[0-9]*' "$work/log"); do
        tries=$((tries + 1))
        if ! kill -0 "$server" 2>/dev/null || [ "$tries" -ge 300 ]; then
            fail "the server does not start: $(cat "$work/log")"
        fi
        sleep 0.1
    done
fi

# OPTIONS speaks of the route, not of the thing: to it, a product that has been deleted is no different.
cat >"$work/schemathesis.toml" <<'EOF'
[[operations]]
include-method = "OPTIONS"
phases.stateful.enabled = false
EOF

# A key stands for one product, and the tool has only a few keys: each request gets one of its own, of the same length.
cat >"$work/hooks.py" <<'EOF'
import itertools
import schemathesis

COUNT = itertools.count()

@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    # An unusable key stays what it is: it has to be refused.
    if isinstance(key, str) and 1 <= len(key) <= 255 and all("!" <= letter <= "~" for letter in key):
        case.headers["Idempotency-Key"] = f"{next(COUNT):08}".ljust(len(key), "-")
EOF

status=0
# It leaves its notes where it is run.
cd "$work"
SCHEMATHESIS_HOOKS=$work/hooks.py timeout 170 "$venv/bin/schemathesis" --config-file "$work/schemathesis.toml" run "$url/openapi.json" \
    --checks all --max-examples "${EXAMPLES:-25}" --generation-deterministic \
    --request-timeout 10 || status=$?
case $status in
    0) ;;
    124) fail "it took longer than 170 s" ;;
    *) exit 1 ;;
esac
if [ -n "$server" ]; then
    kill -0 "$server" 2>/dev/null || fail "the server did not survive: $(tail -5 "$work/log")"
fi
