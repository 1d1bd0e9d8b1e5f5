#!/bin/sh
# Makes images that cannot be pulled out of this system's packages, under the same tags. For tests alone.
set -eu

usage() {
    cat <<'EOT'
usage: docker/stand-ins.sh IMAGE...

For each IMAGE that is not here and cannot be pulled, makes a stand-in of the same
name, labelled tollgate.stand-in, and prints "made IMAGE"; where there is none to
be made, prints "none IMAGE". Remove them afterwards, or Docker takes them for the
real ones:

    docker rmi $(docker images -q --filter label=tollgate.stand-in)

What stands in for what:
    rust              debootstrap with gcc, this machine's Rust toolchain and certificates
    distroless/cc     the files of Debian's libc6 and libgcc-s1, and no shell
    redis             this machine's redis-server and redis-cli, and the libraries they need
    prom/prometheus   this machine's prometheus and promtool
    nginx             the nginx that docker/tools.sh finds, and busybox
The versions are those that are found. Needs root and apt-get (Debian or its like).
EOT
}

case ${1:-} in -h | --help) usage; exit 0 ;; '' | -*) usage >&2; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    echo "stand-ins.sh: $*" >&2
    exit 1
}

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || fail "$1 is missing, and there is no apt-get to install it with"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >&2
}

# new ROOT: an empty file system, but for a /tmp that everybody may write to.
new() {
    mkdir -p "$1/tmp" "$1/etc"
    chmod 1777 "$1/tmp"
}

# put ROOT PROGRAM...: programs and the libraries they are linked to, at the same paths.
put() {
    root=$1
    shift
    for program in "$@"; do
        path=$(command -v "$program")
        cp -L --parents "$path" "$root"
        # A program that is linked to nothing is no fault.
        { ldd "$path" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" "$root"; done
    done
}

# import ROOT IMAGE CHANGE...: the file system as an image, with Dockerfile instructions.
import() {
    root=$1 image=$2
    shift 2
    for change in 'LABEL tollgate.stand-in=true' "$@"; do set -- "$@" --change "$change"; done
    # Of the arguments now there, the first half are the bare instructions.
    while [ "$1" != --change ]; do shift; done
    tar -C "$root" -c . | docker import "$@" - "$image" >/dev/null
}

make_rust() {
    need debootstrap debootstrap
    suite=${1##*-}
    debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates "$suite" "$work/rust" >"$work/debootstrap.log" 2>&1 ||
        fail "debootstrap $suite: $(tail -n 3 "$work/debootstrap.log")"
    rm -rf "$work/rust/var/cache/apt" "$work/rust/usr/share/doc" "$work/rust/usr/share/locale"
    toolchain=$(rustc --print sysroot)
    mkdir -p "$work/rust/usr/local/rust"
    cp -a "$toolchain/bin" "$toolchain/lib" "$work/rust/usr/local/rust"
    # What this machine trusts, the builder must, to reach the crates through the same network.
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/rust/etc/ssl/certs/ca-certificates.crt"
    import "$work/rust" "$1" 'ENV CARGO_HOME=/usr/local/cargo' \
        'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}

make_distroless() {
    new "$work/runtime"
    mkdir -p "$work/debs" "$work/runtime/home/nonroot"
    # Read by a user of apt's own.
    chmod 755 "$work" "$work/debs"
    (cd "$work/debs" && apt-get download -qq base-files libc6 libgcc-s1 2>/dev/null)
    for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/runtime"; done
    rm -rf "$work/runtime/usr/share"
    echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$work/runtime/etc/passwd"
    echo 'hosts: files dns' >"$work/runtime/etc/nsswitch.conf"
    ldconfig -r "$work/runtime"
    import "$work/runtime" "$1" 'USER 65532' 'WORKDIR /home/nonroot'
}

make_redis() {
    need redis-server redis-server
    new "$work/redis"
    put "$work/redis" redis-server redis-cli
    mkdir "$work/redis/data"
    chown 999:999 "$work/redis/data"
    import "$work/redis" "$1" 'WORKDIR /data' 'VOLUME /data'
}

make_prometheus() {
    need prometheus prometheus
    new "$work/prometheus"
    put "$work/prometheus" prometheus promtool
    mkdir "$work/prometheus/prometheus"
    chown 65534:65534 "$work/prometheus/prometheus"
    import "$work/prometheus" "$1" 'USER 65534' 'WORKDIR /prometheus' 'VOLUME /prometheus' "ENTRYPOINT [\"$(command -v prometheus)\"]"
}

make_nginx() {
    need busybox busybox
    new "$work/nginx"
    put "$work/nginx" busybox
    mkdir -p "$work/nginx/usr/sbin" "$work/nginx/etc/nginx" "$work/nginx/bin"
    cp -L "$("$here/tools.sh" nginx)" "$work/nginx/usr/sbin/nginx"
    # What an Alpine has of it, and the health check and the test use.
    for applet in sh wget sed tail; do ln -s "$(command -v busybox)" "$work/nginx/bin/$applet"; done
    import "$work/nginx" "$1"
}

for image in "$@"; do
    if docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null 2>&1; then
        continue
    fi
    case $image in
        rust:*) make_rust "$image" ;;
        gcr.io/distroless/cc-debian12:*) make_distroless "$image" ;;
        redis:*) make_redis "$image" ;;
        prom/prometheus:*) make_prometheus "$image" ;;
        nginx:*) make_nginx "$image" ;;
        *)
            echo "none $image"
            continue
            ;;
    esac
    echo "made $image"
done
