#!/bin/sh
# Walks through the product endpoints: create, list, page, get, delete, and what a mistake looks like.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/products.sh [-h] [URL]

Shows the product endpoints of the server at URL (default
http://127.0.0.1:8080), with every command as it is sent. It deletes the
products it made.
EOF
}

case "${1:-}" in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
url=${1:-http://127.0.0.1:8080}
url=${url%/}

show() { # show CURL ARGUMENT...: prints the command and the answer
    printf '\n$ curl'
    for argument in "$@"; do
        case $argument in
            *[\ \{\"\?\&]*) printf " '%s'" "$argument" ;;
            *) printf ' %s' "$argument" ;;
        esac
    done
    echo
    curl -sS -m 10 "$@" || {
        echo "products.sh: no answer from $url; is the server running?" >&2
        exit 1
    }
    echo
}

create() {
    curl -sS -m 10 -f -H 'Content-Type: application/json' -d "$1" "$url/api/products" |
        sed 's/.*"id":"\([^"]*\)".*/\1/'
}

show -i -H 'Content-Type: application/json' -d '{"name":"Lantern","description":"Burns for 12 hours","price":24.9}' "$url/api/products"
lantern=$(curl -sS -m 10 "$url/api/products" | sed 's/.*"id":"\([^"]*\)".*/\1/')
rope=$(create '{"name":"Rope","description":"30 m","price":"18"}')
show "$url/api/products/$rope"
show "$url/api/products"
show -i "$url/api/products?limit=1"
show -H 'Content-Type: application/json' -d '{"name":7,"price":-1}' "$url/api/products"
show -i -X DELETE "$url/api/products/$rope"
show "$url/api/products/$rope"
curl -sS -m 10 -f -X DELETE "$url/api/products/$lantern"
