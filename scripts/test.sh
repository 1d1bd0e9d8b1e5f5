#!/bin/sh
# Installs what the tests need, where it is missing, and runs every test.
set -eu

usage() {
    cat <<'EOF'
usage: scripts/test.sh [-h]

Runs all tests of the workspace, those that need Redis included. Installs what
is missing with the system's package manager (apt-get, apk, dnf or brew; with
sudo where that is needed): Redis, Prometheus, curl, shellcheck, Python.
Needs a Rust toolchain.
EOF
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    '') ;;
    *) usage >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."

fail() {
    echo "test.sh: $*" >&2
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

# get APT APK DNF BREW: installs a package, under the name each manager has it by.
get() {
    echo "test.sh: installing $1"
    if command -v apt-get >/dev/null; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"
    elif command -v apk >/dev/null; then
        as_root apk add --quiet "$2"
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q "$3"
    elif command -v brew >/dev/null; then
        brew install --quiet "$4"
    else
        fail "no apt-get, apk, dnf or brew here; install $1 yourself, then run this again"
    fi
}

# install COMMAND APT APK DNF BREW: makes COMMAND be there, by the package each manager has it in.
install() {
    command -v "$1" >/dev/null && return
    get "$2" "$3" "$4" "$5"
    command -v "$1" >/dev/null || fail "$1 is still missing after the installation"
}

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, then run this again"
command -v cc >/dev/null || install cc gcc build-base gcc gcc
install redis-server redis-server redis redis redis
install curl curl curl curl curl
install promtool prometheus prometheus prometheus prometheus
install python3 python3 python3 python3 python
# Debian's Python makes virtual environments only with a package of its own.
python3 -c 'import ensurepip' 2>/dev/null || get python3-venv python3 python3 python
python3 -m pip --version >/dev/null 2>&1 || install pip3 python3-pip py3-pip python3-pip python
install shellcheck shellcheck shellcheck ShellCheck shellcheck

echo "test.sh: shellcheck"
shellcheck scripts/*.sh .ci/run

echo "test.sh: cargo test"
cargo test --locked --workspace --all-targets
cargo test --locked --workspace --doc

echo "test.sh: other people's code on our tiny_http"
cargo test --locked --manifest-path crates/tiny_http/compat/Cargo.toml

echo "test.sh: the stack's files, and its queries against a real Prometheus"
scripts/check-stack.sh

echo "test.sh: the description of the API, held against a running server"
scripts/schemathesis.sh

echo "test.sh: the pages, in a browser"
scripts/browser-test.sh
