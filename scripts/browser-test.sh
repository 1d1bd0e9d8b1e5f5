#!/bin/sh
# Opens the console and the documentation in a real browser and uses them.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/browser-test.sh [-h] [--pictures DIRECTORY | TEST...]

Builds the server and runs tests/browser.py against it: Chromium, headless, with
servers and a Redis of its own on free ports. TEST is a test's name in full, like
InABrowser.test_the_console_fits_a_phone; without one, all are run. --pictures takes
those of the README instead.

Installs what is missing with the system's package manager (apt-get, apk or dnf;
with sudo where that is needed): chromium, chromedriver, redis-server, python3.
EOF
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    --pictures) [ $# -eq 2 ] || { usage >&2; exit 2; } ;;
    -*) usage >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

fail() {
    echo "browser-test.sh: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "'$*' needs root; run it yourself, then run this again"
    fi
}

# install COMMAND APT APK DNF: makes COMMAND be there, by the package each manager has it in.
install() {
    command -v "$1" >/dev/null && return
    echo "browser-test.sh: $1 is missing, installing it"
    if command -v apt-get >/dev/null; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"
    elif command -v apk >/dev/null; then
        as_root apk add --quiet "$3"
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q "$4"
    else
        fail "no apt-get, apk or dnf here; install $1 yourself, then run this again"
    fi
    command -v "$1" >/dev/null || fail "$1 is still missing after the installation"
}

install python3 python3 python3 python3
install chromedriver chromium-driver chromium-chromedriver chromedriver
install redis-server redis-server redis redis

cargo build --locked --quiet
# A browser that hangs must not hang whoever waits for this.
exec timeout 300 python3 tests/browser.py "${CARGO_TARGET_DIR:-target}/debug/tollgate" "$@"
