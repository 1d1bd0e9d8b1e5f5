#!/bin/sh
# Measures a local server, with and without Redis.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/bench.sh [-h] [-c CONNECTIONS] [-s SECONDS] [BINARY]

Starts BINARY (default target/release/tollgate, built if it is missing) and, for
the second half, a redis-server, both on free loopback ports; loads them with
wrk and prints, for each scenario: requests a second, p50, p99, server and Redis
CPU microseconds a request, and resident memory. Linux; needs wrk, redis-server.
The figures of one machine compare only with others of the same run.
EOF
}

connections=64 seconds=5
while getopts hc:s: option; do
    case $option in
        h) usage; exit 0 ;;
        c) connections=$OPTARG ;;
        s) seconds=$OPTARG ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
cd "$(dirname "$0")/.."
for tool in wrk redis-server curl; do
    command -v "$tool" >/dev/null || { echo "bench.sh: $tool is missing; install it first" >&2; exit 1; }
done
binary=${1:-target/release/tollgate}
[ -x "$binary" ] || cargo build --release --locked

work=$(mktemp -d)
server='' redis=''
stop() { # stop PID: ends it and waits for its end
    kill "$1" 2>/dev/null || return 0
    wait "$1" 2>/dev/null || return 0
}
trap 'stop "$server"; stop "$redis"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Clients 10.0.0.0 to 10.0.39.15, in turns.
cat >"$work/allowed.lua" <<'EOF'
local requests, count, n = {}, 10000, 0
function init()
  wrk.method, wrk.body = "POST", '{"action":"test","value":42}'
  wrk.headers["Content-Type"] = "application/json"
  for i = 1, count do
    wrk.headers["X-Forwarded-For"] = "10.0." .. math.floor(i / 256) .. "." .. i % 256
    requests[i] = wrk.format(nil, "/api/protected-action")
  end
end
function request() n = n % count + 1; return requests[n] end
EOF
cat >"$work/denied.lua" <<'EOF'
wrk.method, wrk.body = "POST", '{"action":"test","value":42}'
wrk.headers["Content-Type"] = "application/json"
EOF

# ticks PID: processor time used so far, in clock ticks
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

start_server() { # start_server CAPACITY RATE [VARIABLE=VALUE]
    env LISTEN=127.0.0.1:0 RATE_LIMIT="$1" REFILL_RATE="$2" TRUSTED_PROXIES=127.0.0.1 ACCESS_LOG=off \
        ${3:+"$3"} "$binary" 2>"$work/server.log" &
    server=$!
    tries=0
    until url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/server.log" | head -n 1) && [ -n "$url" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            echo "bench.sh: the server did not start:" >&2
            cat "$work/server.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

measure() { # measure NAME PATH [SCRIPT]
    name=$1 path=$2 script=${3:+-s "$work/$3"}
    # shellcheck disable=SC2086 # the script is two words or none
    wrk -t1 -c"$connections" -d1s $script "$url$path" >/dev/null
    server_before=$(ticks "$server") redis_before=0
    [ -z "$redis" ] || redis_before=$(ticks "$redis")
    # shellcheck disable=SC2086
    wrk -t1 -c"$connections" -d"${seconds}s" --latency $script "$url$path" >"$work/wrk"
    server_used=$(($(ticks "$server") - server_before)) redis_used=0
    [ -z "$redis" ] || redis_used=$(($(ticks "$redis") - redis_before))
    rss=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$server/status")
    awk -v name="$name" -v rss="$rss" -v hz="$(getconf CLK_TCK)" -v server="$server_used" -v redis="$redis_used" '
        $1 == "50%" { p50 = $2 } $1 == "99%" { p99 = $2 }
        /requests in/ { requests = $1 } /^Requests\/sec/ { rate = $2 }
        END { printf "%-18s %9d/s   p50 %8s   p99 %8s   server %5.1f us   redis %5.1f us   %3d MB\n",
              name, rate, p50, p99, server / hz * 1e6 / requests, redis / hz * 1e6 / requests, rss }' "$work/wrk"
}

round() { # round LABEL [VARIABLE=VALUE]
    start_server 1000000 1000 "${2:-}"
    measure "status $1" /api/status
    measure "allowed $1" /api/protected-action allowed.lua
    stop "$server"
    start_server 5 0.001 "${2:-}"
    measure "denied $1" /api/protected-action denied.lua
    stop "$server"
    server=''
}

echo "$connections connections, $seconds s each"
round embedded
port=$((20000 + $$ % 20000))
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" &
redis=$!
tries=0
until grep -q 'Ready to accept' "$work/redis.log"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        echo "bench.sh: Redis did not start:" >&2
        cat "$work/redis.log" >&2
        exit 1
    fi
    sleep 0.05
done
round redis "REDIS_URL=redis://127.0.0.1:$port/"
