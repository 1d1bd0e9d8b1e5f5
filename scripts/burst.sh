#!/bin/sh
# Drains a token bucket before your eyes, and shows it refill.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/burst.sh [-h] [-n EXTRA] [URL]

Sends protected actions to the server at URL (default http://127.0.0.1:8080)
until the bucket is empty, EXTRA more (default 2) to see them refused, then
waits as long as Retry-After says and tries once more.
Exit 0 when the bucket drained, refused and refilled as it said; else 1.
EOF
}

extra=2
while getopts hn: option; do
    case $option in
        h) usage; exit 0 ;;
        n) extra=$OPTARG ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
url=${1:-http://127.0.0.1:8080}
url=${url%/}
head=$(mktemp)
trap 'rm -f "$head"' EXIT

field() { sed -n "s/^$1: *//Ip" "$head" | tr -d '\r'; }

act() {
    status=$(curl -sS -m 10 -o /dev/null -D "$head" -w '%{http_code}' -X POST \
        -H 'Content-Type: application/json' -d '{"action":"burst"}' "$url/api/protected-action") || {
        echo "burst.sh: no answer from $url; is the server running?" >&2
        exit 1
    }
    remaining=$(field X-RateLimit-Remaining)
    bar=
    if [ "${remaining:-0}" -le 60 ]; then bar=$(printf '%*s' "${remaining:-0}" '' | tr ' ' '#'); fi
    printf '%s  remaining %-4s %s' "$status" "${remaining:--}" "$bar"
    [ "$status" = 429 ] && printf ' retry after %s s' "$(field Retry-After)"
    echo
}

sent=0
act
limit=$(field X-RateLimit-Limit)
[ -n "$limit" ] || { echo "burst.sh: the answer has no X-RateLimit-Limit" >&2; exit 1; }
if [ "$limit" -gt 1000 ]; then
    echo "burst.sh: a bucket of $limit tokens is too large to drain one by one; start the server with RATE_LIMIT=5" >&2
    exit 1
fi
# While tokens trickle in, a bucket takes a few more requests than it holds.
while [ "$status" = 200 ] && [ "$sent" -lt $((limit * 10 + 100)) ]; do
    act
    sent=$((sent + 1))
done
if [ "$status" != 429 ]; then
    echo "burst.sh: $sent requests, and the bucket is not empty; it refills as fast as curl can ask" >&2
    exit 1
fi
while [ "$extra" -gt 0 ]; do
    act
    extra=$((extra - 1))
done

echo
echo "The last answer's headers:"
grep -iE '^(HTTP|x-ratelimit|ratelimit|retry-after)' "$head" | tr -d '\r' | sed 's/^/    /'
wait=$(field Retry-After)
echo
echo "Waiting the $wait s that Retry-After names ..."
sleep "$wait"
act
[ "$status" = 200 ]
