#!/bin/sh
# Builds the image, starts the stack with three replicas, and sees it keep what it promises.
set -eu

usage() {
    cat <<'EOT'
usage: scripts/stack-test.sh [-h]

Builds docker/Dockerfile and starts docker-compose.yml as they are, with api x 3,
Redis, Prometheus and the proxy, on free ports of loopback, and checks: that they
are as confined as they are written to be, the API through the proxy, one limit
and one set of products for all replicas, who counts as a client, what a killed
replica and an upgrade cost, what stopping Redis does, and what Prometheus sees.

Images that are not here and cannot be pulled are replaced by stand-ins for the
time of the test, see docker/stand-ins.sh; Grafana, for which there is none, is
left out then. The builder downloads the locked crates, as any build does.
Removes all it has made, but for the builder's cache. Needs python3 and curl. Where
no Docker engine answers, says SKIPPED and exits 0.
EOT
}

case "${1:-}" in -h | --help) usage; exit 0 ;; '') ;; *) usage >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."

readonly PROJECT=tollgate-stack-test
# The front network gets the first of these that no other network has.
readonly NETS='10.117.251 172.16.251 10.229.77'
readonly LIMIT=5
readonly REPLICAS=3
# After so long a proxy has surely noticed that a replica is gone.
readonly NOTICED_S=5
readonly IMAGE_MAX_MB=25

say() { echo "stack-test.sh: $*"; }
fail() {
    echo "stack-test.sh: $*" >&2
    exit 1
}

if ! command -v docker >/dev/null || ! docker info >/dev/null 2>&1; then
    say 'SKIPPED: no Docker engine answers here, so nothing of the stack was tried'
    exit 0
fi

work=$(mktemp -d)
composer=$(docker/tools.sh compose)
cat >"$work/env" <<EOT
GRAFANA_ADMIN_PASSWORD=stack-test
COMPOSE_PROFILES=replicas
TOLLGATE_TAG=stack-test
TOLLGATE_COMMIT=stack-test
REPLICAS=$REPLICAS
RATE_LIMIT=$LIMIT
REFILL_RATE=0.1
PROXY_PUBLISH=127.0.0.1:0
PROMETHEUS_PORT=0
GRAFANA_PORT=0
EOT

# compose ARGUMENT...: with nothing of this shell's environment, which would win over the file.
compose() {
    # shellcheck disable=SC2086 # it may be two words
    env -i PATH="$PATH" HOME="${HOME:-/}" ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} \
        $composer --project-name "$PROJECT" --env-file "$work/env" "$@"
}

clean_up() {
    compose down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
    docker rmi tollgate:stack-test >/dev/null 2>&1 || true
    sed -n 's/^made //p' "$work/images" 2>/dev/null | while read -r image; do docker rmi "$image" >/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

passed=0 failed=0
check() { # check WHAT COMMAND...
    what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok    $what"
    else
        failed=$((failed + 1))
        echo "FAIL  $what"
    fi
}
is() { # is GOT EXPECTED
    [ "$1" = "$2" ] || { echo "      got $1, expected $2"; false; }
}
# eventually COMMAND...: tries for a minute, and says what came last.
eventually() {
    tries=0
    until "$@" >"$work/last" 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { cat "$work/last"; return 1; }
        sleep 1
    done
}

# The client that builds with BuildKit: one with its plug-in, or one from before it was a plug-in.
builder() {
    IFS=:
    for directory in $PATH; do
        [ -x "$directory/docker" ] || continue
        version=$("$directory/docker" version --format '{{.Client.Version}}')
        if "$directory/docker" buildx version >/dev/null 2>&1 || [ "${version%%.*}" -lt 23 ]; then
            echo "$directory/docker"
            return
        fi
    done
    fail 'no docker client here can build with BuildKit; install buildx'
}

# --- Image ---

runtime=$(sed -n 's/^ARG RUNTIME_IMAGE=//p' docker/Dockerfile)
services='api proxy redis prometheus grafana'
# shellcheck disable=SC2046 # words are what is wanted
docker/stand-ins.sh $(sed -n 's/^ARG [A-Z]*_IMAGE=//p' docker/Dockerfile) \
    $(compose config --images | grep -v '^tollgate:') >"$work/images"
sed 's/^made \(.*\)/stack-test.sh: \1 is a stand-in/; s/^none \(.*\)/stack-test.sh: LEFT OUT: \1, for which there is no stand-in/' "$work/images"
if grep -q '^none ' "$work/images"; then
    is "$(grep -c '^none ' "$work/images")" "$(grep -c '^none grafana/' "$work/images")" || fail 'more than Grafana is missing'
    services='api proxy redis prometheus'
fi

say 'building the image'
docker_build=$(builder)
DOCKER_BUILDKIT=1 "$docker_build" build --progress plain -f docker/Dockerfile -t tollgate:stack-test \
    --build-arg TOLLGATE_COMMIT=stack-test . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail 'the image cannot be built'; }

bytes() { docker image inspect --format '{{.Size}}' "$1"; }
added=$((($(bytes tollgate:stack-test) - $(bytes "$runtime") + 500000) / 1000000))
say "the image is $(($(bytes tollgate:stack-test) / 1000000)) MB, $added MB of it beyond $runtime"
check "the image adds less than $IMAGE_MAX_MB MB to its base" [ "$added" -lt "$IMAGE_MAX_MB" ]
no_shell() {
    for shell in /bin/sh /bin/bash /bin/busybox; do
        ! docker run --rm --entrypoint "$shell" tollgate:stack-test -c true 2>/dev/null || return 1
    done
}
check 'the image has no shell' no_shell
label() { docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$1\"}}" tollgate:stack-test; }
check 'the image says what it is' is "$(label title) $(label licenses) $(label revision)" 'tollgate MIT stack-test'

# --- Start ---

say 'starting the stack'
# A run that was killed may have left something.
compose down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
cp "$work/env" "$work/env.common"
for NET in $NETS; do
    { cat "$work/env.common"; echo "FRONT_NET=$NET"; } >"$work/env"
    # shellcheck disable=SC2086 # words are what is wanted
    ! compose create --no-build $services >"$work/create.log" 2>&1 || break
    grep -Ei 'overlap|network' "$work/create.log" >&2 || true
    compose down --volumes --remove-orphans >/dev/null 2>&1 || true
done
# shellcheck disable=SC2086 # words are what is wanted
compose up -d --no-build --wait $services >"$work/up.log" 2>&1 || {
    cat "$work/up.log" >&2
    compose ps -a >&2
    compose logs --tail 20 >&2
    fail 'the stack does not become healthy'
}
url=http://$(compose port proxy 8080)
prometheus=http://$(compose port prometheus 9090)
check 'all services are healthy' [ "$(docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter health=healthy | wc -l)" \
    -eq "$(docker ps -aq --filter "label=com.docker.compose.project=$PROJECT" | wc -l)" ]

# What a container may do, by its settings and by what the kernel says of its first process.
confined() {
    docker inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}
{{- if and .HostConfig.Memory .HostConfig.NanoCpus .HostConfig.PidsLimit (index .HostConfig.LogConfig.Config "max-size")}} limited{{end}}' "$1" \
        >"$work/settings"
    grep -qE '^[1-9][0-9]*:[0-9]+ true \[ALL\] \[no-new-privileges(:true)?\] limited$' "$work/settings" || { cat "$work/settings"; return 1; }
    status=/proc/$(docker inspect --format '{{.State.Pid}}' "$1")/status
    # On another system than Linux the engine is in a machine of its own.
    [ -r "$status" ] || return 0
    awk '/^Uid:/ { root = $2 == 0 || $3 == 0 } /^Cap(Prm|Eff|Bnd):/ { able = able || $2 != "0000000000000000" } /^NoNewPrivs:/ { new = $2 != 1 }
        END { exit root || able || new }' "$status" || { grep -E '^(Uid|Cap|NoNew)' "$status"; return 1; }
}
for container in $(compose ps -q); do
    check "$(docker inspect --format '{{.Name}}' "$container") is not root, read-only, without capabilities, and limited" confined "$container"
done
reachable_ports() { docker ps --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Ports}}' | tr ',' '\n' | grep -e '->' | grep -cv '127\.0\.0\.1:' || true; }
check 'nothing is published beyond loopback, as asked here' is "$(reachable_ports)" 0

# --- The API through the proxy ---

say 'smoke.sh and burst.sh through the proxy'
smoke() { scripts/smoke.sh "$url" >"$work/smoke" || { grep -v '^ok' "$work/smoke"; return 1; }; }
check 'smoke.sh finds nothing wrong' smoke
burst() { scripts/burst.sh "$url" >"$work/burst" || { cat "$work/burst"; return 1; }; }
check 'burst.sh sees the bucket drain, refuse and refill' burst
problem() { curl -sS -o "$work/body" -w '%{http_code} %{content_type}' "$@"; }
too_long() { head -c 1048577 /dev/zero | problem -H 'Content-Type: application/json' --data-binary @- "$url/api/products"; }
check "the proxy's own errors are problems too" is "$(too_long)" '413 application/problem+json'

# replica N PATH: asked past the proxy.
replica() { curl -sS -m 10 "http://$(compose port --index "$1" api 8080)$2"; }
decided() { replica "$1" /metrics | awk '/^rate_limit_decisions_total/ { sum += $2 } END { print sum + 0 }'; }

say 'one limit for all replicas'
nginx=$(compose config --images | grep '^nginx:')
# as_client NUMBER COMMANDS: runs them in a container of that address, in a shell that knows how to act, which prints the
# status of the answer.
as_client() {
    docker run --rm --network "${PROJECT}_front" --ip "$NET.$1" --entrypoint /bin/sh "$nginx" -c '
        act() {
            target=$1
            shift
            wget -S -O /dev/null "$@" --header "Content-Type: application/json" --post-data "{}" "$target/api/protected-action" 2>&1 |
                sed -n "s,.*HTTP/1\.1 \([0-9]*\).*,\1,p" | tail -n 1
        }
        '"$2"
}
for index in 1 2 3; do eval "before_$index=$(decided $index)"; done
started=$(date +%s)
# shellcheck disable=SC2016 # for the shell in the container
as_client 11 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do act http://proxy:8080; done' >"$work/drain"
allowed=$(grep -c 200 "$work/drain" || true) refused=$(grep -c 429 "$work/drain" || true)
# One comes back every ten seconds.
most=$((LIMIT + ($(date +%s) - started) / 10 + 1))
check "one client got $allowed of 24, at least $LIMIT and at most $most" [ "$allowed" -ge "$LIMIT" ]
check 'and not more' [ "$allowed" -le "$most" ]
check 'the others were refused' is "$((allowed + refused))" 24
for index in 1 2 3; do
    check "replica $index had a part in it" [ "$(decided $index)" -gt "$(eval "echo \$before_$index")" ]
done

say 'clients are told apart, and cannot lie'
# shellcheck disable=SC2016
as_client 12 '
    for n in 1 2 3 4 5 6 7 8; do act http://proxy:8080 >/dev/null; done
    echo drained $(act http://proxy:8080)
    echo forged $(act http://proxy:8080 --header "X-Forwarded-For: 203.0.113.9")
    echo list $(act http://proxy:8080 --header "X-Forwarded-For: 203.0.113.9, 198.51.100.1")
    echo forwarded $(act http://proxy:8080 --header "Forwarded: for=203.0.113.9")
    echo direct $(act http://api:8080 --header "X-Forwarded-For: 203.0.113.9")
' >"$work/lies"
# shellcheck disable=SC2016
as_client 13 'echo another $(act http://proxy:8080)' >>"$work/lies"
for lie in drained forged list forwarded direct; do
    check "a drained client stays drained: $lie" grep -qx "$lie 429" "$work/lies"
done
check 'another client has a bucket of its own' grep -qx 'another 200' "$work/lies"

stores_products() { docker run --rm tollgate:stack-test config | grep -q '^PRODUCT_STORE '; }
in_redis=
if stores_products; then
    say 'one set of products for all replicas'
    in_redis=yes
    made=$(curl -sS -H 'Content-Type: application/json' -d '{"name":"shared","description":"by all","price":1}' "$url/api/products" |
        sed 's/.*"id":"\([^"]*\)".*/\1/')
    for index in 1 2 3; do
        check "replica $index has the product" eval "replica $index /api/products/$made | grep -q '\"name\":\"shared\"'"
    done
else
    say 'NOT CHECKED: this server keeps its products in memory, each replica its own'
fi

# --- Prometheus ---

query() { curl -sS -m 10 -G --data-urlencode "query=$1" "$prometheus/api/v1/query" | sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'; }
sees() { is "$(query "$1")" "$2"; }
check "Prometheus sees $REPLICAS replicas up" eventually sees 'count(up{job="tollgate"} == 1)' "$REPLICAS"
check 'Prometheus has no rule in trouble' is "$(curl -sS "$prometheus/api/v1/rules" | grep -c '"health":"err"' || true)" 0
check 'Prometheus counts what the replicas decided' eventually sees 'sum(rate_limit_decisions_total{job="tollgate"}) > bool 20' 1

# --- Trouble ---

# load SECONDS: in the background; the failures are in $work/load when it has ended.
load() {
    python3 scripts/steady_load.py "$url" "$1" >"$work/load" &
    load=$!
    sleep 3
}
# failures [AFTER]: how many, after this moment.
failures() { awk -v after="${1:-0}" '$1 == "failed" && $2 > after { n++ } END { print n + 0 }' "$work/load"; }
reads_failed() { grep -c '^failed [0-9.]* GET' "$work/load" || true; }
report() { wait "$load" && { grep '^failed' "$work/load" || true; } | head -n 5; say "$(tail -n 1 "$work/load")"; }

say 'a replica is killed under load'
load 15
victim=$(compose ps -q api | head -n 1)
docker kill "$victim" >/dev/null
killed=$(date +%s)
report
check 'no read failed at all' is "$(reads_failed)" 0
check "nothing failed from $NOTICED_S s after it was killed" is "$(failures $((killed + NOTICED_S)))" 0
check 'Prometheus sees one replica less' eventually sees 'count(up{job="tollgate"} == 1)' $((REPLICAS - 1))
compose up -d --no-build --no-deps --wait api >"$work/up.log" 2>&1 || cat "$work/up.log"
check 'and finds it when it is back' eventually sees 'count(up{job="tollgate"} == 1)' "$REPLICAS"

say 'an upgrade under load'
load 45
upgrade() {
    env -i PATH="$PATH" HOME="${HOME:-/}" ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} \
        docker/upgrade.sh --no-build --project-name "$PROJECT" --env-file "$work/env" >"$work/upgrade" 2>&1 || { cat "$work/upgrade"; return 1; }
}
old=$(compose ps -q api | sort)
check 'the upgrade goes through' upgrade
report
check 'no request failed' is "$(failures)" 0
check "there are $REPLICAS replicas, and none of them is an old one" \
    is "$(compose ps -q api | wc -l) $(compose ps -q api | grep -cxF "$old" || true)" "$REPLICAS 0"

say 'Redis stops and comes back'
ready() { curl -sS -m 10 "$url/api/ready" | sed 's/.*"status":"\([^"]*\)".*/\1/'; }
ready_is() { is "$(ready)" "$1"; }
act() { curl -sS -m 10 -o "$work/body" -D "$work/head" -w '%{http_code}' -X POST -H 'Content-Type: application/json' -d '{}' "$url/api/protected-action"; }
load 20
compose stop redis >/dev/null 2>&1
check 'the API says that it is degraded' eventually ready_is degraded
check 'protected actions are still judged' [ "$(act | grep -cE '^(200|429)$')" -eq 1 ]
check 'Prometheus sees the breakers open' eventually sees "sum(circuit_breaker_state{job=\"tollgate\", state=\"closed\"})" 0
if [ -n "$in_redis" ]; then
    check 'products cannot be had, and it says when to ask again' \
        is "$(curl -sS -o "$work/body" -D "$work/head" -w '%{http_code}' "$url/api/products/$made") $(grep -ci '^retry-after:' "$work/head" || true)" '503 1'
fi
compose start redis >/dev/null 2>&1
check 'it heals by itself' eventually ready_is ready
wait "$load"
say "$(tail -n 1 "$work/load")"
check 'no protected action failed meanwhile' is "$(grep -c '^failed [0-9.]* POST' "$work/load" || true)" 0
if [ -n "$in_redis" ]; then
    check 'reads of products failed, if at all, with 503' is "$(grep '^failed' "$work/load" | grep -cv ' GET /api/products?limit=1 503 ' || true)" 0
    check 'the product has outlived Redis' eventually eval "curl -sS '$url/api/products/$made' | grep -q '\"name\":\"shared\"'"
else
    check 'nothing failed meanwhile' is "$(failures)" 0
fi
check 'the breakers are closed again' eventually sees "sum(circuit_breaker_state{job=\"tollgate\", state=\"closed\"})" "$REPLICAS"

say 'the stack ends'
containers=$(compose ps -q api)
compose stop api >/dev/null 2>&1
for container in $containers; do
    check "$(docker inspect --format '{{.Name}}' "$container") drained and left with 0" is "$(docker inspect --format '{{.State.ExitCode}}' "$container")" 0
done
check 'without a replica the proxy says so' [ "$(problem "$url/api/status" | grep -cE '^50[24] application/problem\+json$')" -eq 1 ]

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
