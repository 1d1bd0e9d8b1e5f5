#!/bin/sh
# Checks the files of the stack, and what they expect of the server, without a Docker engine.
set -eu

usage() {
    cat <<'EOT'
usage: scripts/check-stack.sh [-h] [BINARY]

Checks docker-compose.yml with Docker Compose itself and by rules of ours, lints
the Dockerfile, the proxy's configuration, the dashboards and the Prometheus
configuration, runs the unit tests of the alerts, and then evaluates every query
of the dashboards and rules in a real Prometheus that scrapes a real server under
traffic. BINARY is that server (default: the debug build, made now).

Needs prometheus with promtool, redis-server, shellcheck and python3 with pip; gets
Docker Compose 2, hadolint and a recent nginx by itself if they are missing.
EOT
}

case "${1:-}" in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
binary=${1:-}
export PYTHONDONTWRITEBYTECODE=1

say() { echo "check-stack.sh: $*"; }
fail() {
    echo "check-stack.sh: $*" >&2
    exit 1
}

for tool in prometheus promtool redis-server shellcheck python3; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install it first"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

say 'scripts and the Dockerfile'
shellcheck docker/*.sh
"$(docker/tools.sh hadolint)" docker/Dockerfile

say 'docker-compose.yml'
composer=$(docker/tools.sh compose)
# compose ARGUMENT...: with nothing of this shell's environment, which would win over the file.
compose() {
    # shellcheck disable=SC2086 # it may be two words
    env -i PATH="$PATH" HOME="${HOME:-/}" $composer "$@"
}
compose --env-file .env.example config --quiet
compose --env-file .env.example --profile '*' config --format json >"$work/compose.json"
python3 scripts/check_compose.py <"$work/compose.json"
grep -v '^GRAFANA_ADMIN_PASSWORD=' .env.example >"$work/env"
if compose --env-file "$work/env" config --quiet 2>"$work/refusal"; then
    fail 'Compose is content without GRAFANA_ADMIN_PASSWORD'
fi
grep -q 'GRAFANA_ADMIN_PASSWORD.*\.env' "$work/refusal" || fail "no clear word about GRAFANA_ADMIN_PASSWORD: $(cat "$work/refusal")"

say 'the proxy'
# As in the stack, but for where it listens and keeps its files.
sed -e "s|listen 8080|listen unix:$work/api|; s|listen 127.0.0.1:8081|listen unix:$work/health|; s| /tmp/| $work/|" \
    docker/proxy/nginx.conf >"$work/nginx.conf"
"$(docker/tools.sh nginx)" -t -q -p "$work/" -c "$work/nginx.conf"

say 'Prometheus: configuration, rules, and the tests of the alerts'
promtool check config docker/prometheus/prometheus.yml
promtool test rules docker/prometheus/tests/*.yml
sed -n 's/^ *- alert: //p' docker/prometheus/rules/*.yml | while read -r alert; do
    grep -q "alertname=\"$alert\"" docker/prometheus/tests/*.yml || fail "no test has the alert $alert fire"
done

say 'the dashboards'
python3 scripts/check_dashboards.py

say 'every query, asked of a Prometheus that scrapes a server'
if [ -z "$binary" ]; then
    cargo build --locked --bin tollgate
    binary=${CARGO_TARGET_DIR:-target}/debug/tollgate
fi
python3 scripts/check_expressions.py "$binary"
