#!/bin/sh
# Replaces the api containers by new ones, without losing a request.
set -eu

usage() {
    cat <<'EOT'
usage: docker/upgrade.sh [-h] [--no-build] [COMPOSE OPTION...]

Builds the image from the sources as they are, starts as many new api containers
as there are old ones beside them, waits until all are healthy, and then stops
the old ones one by one: each answers what it has in hand first, and the proxy
passes over it. New settings in .env take effect too. If the new containers do not
become healthy, they are removed and nothing has changed.

--no-build takes the image as it is: another TOLLGATE_TAG in .env, say the last
one, to go back. Other options are Docker Compose's own, like --env-file FILE.
Needs the proxy, the profile `replicas`.
EOT
}

build=yes
case ${1:-} in
    -h | --help) usage; exit 0 ;;
    --no-build) build=; shift ;;
esac
cd "$(dirname "$0")/.."
composer=$(docker/tools.sh compose)
options=$*

compose() {
    # shellcheck disable=SC2086 # both may be several words
    $composer $options "$@"
}
fail() {
    echo "upgrade.sh: $*" >&2
    exit 1
}
# without OLD: the ids on standard input that are not among OLD.
without() { grep -vxF "$1" || true; }

old=$(compose ps -q api)
[ -n "$old" ] || fail 'no api container is running; start the stack with: docker compose up -d --build'
[ -n "$(compose ps -q proxy)" ] || fail 'there is no proxy in front of the api; set COMPOSE_PROFILES=replicas in .env'
count=$(echo "$old" | wc -l)

[ -z "$build" ] || compose build api
echo "upgrade.sh: starting $count new beside $count old"
if ! compose up -d --no-deps --no-build --no-recreate --wait --scale "api=$((count * 2))" api; then
    for container in $(compose ps -aq api | without "$old"); do
        docker logs --tail 20 "$container" >&2 || true
        docker rm -f "$container" >/dev/null
    done
    fail 'the new containers did not become healthy; they are gone, and the old ones run as before'
fi
# The proxy asks for the replicas' names every second.
sleep 2
for container in $old; do
    docker stop "$container" >/dev/null
    docker rm "$container" >/dev/null
    echo "upgrade.sh: $(echo "$container" | cut -c 1-12) has ended"
done
echo "upgrade.sh: $count new in place"
