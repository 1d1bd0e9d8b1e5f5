#!/bin/sh
# Asks every endpoint of a running server and checks what it answers.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/smoke.sh [-h] [URL]

Checks every endpoint of the server at URL (default http://127.0.0.1:8080):
status codes, headers and bodies. It creates one product and deletes it again,
and takes one token for each protected action it sends.
Exit 0 when all checks pass, 1 when one does not, 2 when the server is not there.
EOF
}

case "${1:-}" in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
url=${1:-http://127.0.0.1:8080}
url=${url%/}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# ask METHOD PATH [CURL OPTION...]: leaves the answer in $status, $work/head and $work/body.
ask() {
    method=$1 path=$2
    shift 2
    what="$method $path"
    # HEAD must not wait for a body.
    [ "$method" = HEAD ] && set -- --head "$@"
    status=$(curl -sS -m 10 -X "$method" -D "$work/head" -o "$work/body" -w '%{http_code}' "$@" "$url$path") || {
        echo "smoke.sh: no answer from $url; is the server running?" >&2
        exit 2
    }
}

check() { # check WHAT COMMAND...
    label=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok    $what: $label"
    else
        failed=$((failed + 1))
        echo "FAIL  $what: $label; got status $status, body: $(head -c 300 "$work/body")"
    fi
}

is() { check "status $1" [ "$status" = "$1" ]; }
body_is() { check "body $1" [ "$(cat "$work/body")" = "$1" ]; }
body_has() { check "body has $1" grep -qF -- "$1" "$work/body"; }
header() { check "header $1" grep -qiE -- "^$1" "$work/head"; }
json='Content-Type: application/json'

ask GET /api/status
is 200
body_is '{"status":"healthy"}'
header 'X-Request-Id: .+'
header 'X-Content-Type-Options: nosniff'

ask HEAD /api/status
is 200

ask OPTIONS /api/products
is 204
header 'Allow: GET, HEAD, POST, OPTIONS'

ask GET /api/ready
is 200
body_has '"limiter"'

ask GET /metrics
is 200
header 'Content-Type: text/plain; version=0.0.4'
body_has 'rate_limit_decisions_total'

ask POST /api/products -H "$json" -d '{"name":"smoke","description":"made by smoke.sh","price":"9.5"}'
is 201
header 'Location: /api/products/.+'
body_has '"price":9.5'
product=$(sed -n 's/^[Ll]ocation: *\([^[:space:]]*\).*/\1/p' "$work/head")

ask GET "$product"
is 200
body_has '"name":"smoke"'

ask GET /api/products
is 200
header 'ETag: '
body_has '"name":"smoke"'

ask GET '/api/products?limit=1'
is 200

ask DELETE "$product"
is 204

ask DELETE "$product"
is 404
header 'Content-Type: application/problem\+json'

ask POST /api/products -H "$json" -d '{"name":1,"price":"x"}'
is 422
body_has '"field":"body -> name"'
body_has '"type":"missing"'
body_has "Received: 'x'"

ask POST /api/products -H 'Content-Type: text/plain' -d 'x'
is 415

ask GET /nowhere
is 404
body_has '"detail":"Not Found"'

ask PUT /api/status
is 405
header 'Allow: GET, HEAD, OPTIONS'

ask POST /api/protected-action -H "$json" -d '{"n":12345678901234567890}'
check "status 200 or 429" [ "$status" = 200 ] || [ "$status" = 429 ]
header 'X-RateLimit-Limit: [0-9]+'
header 'X-RateLimit-Remaining: [0-9]+'
header 'RateLimit-Policy: '
case $status in
    200) body_is '{"message":"Action performed successfully","data":{"n":12345678901234567890}}' ;;
    429) header 'Retry-After: [0-9]+' ;;
esac

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
