#!/usr/bin/env bash
# Which images run in the test cluster? Builds them without a registry, gives them to the cluster, and prints their names.
#
#   hack/images.sh postgres [15]         localhost/pgreeve-postgres:17, a PostgreSQL 17 with pg_partman, or :15, which Debian 12 has
#   hack/images.sh s3                    localhost/pgreeve-s3:<hash of program and Dockerfile>, a versitygw
#   hack/images.sh operator BINARY       localhost/pgreeve:<hash of binary and Dockerfile>, by the project's own Dockerfile
#
# An image whose inputs are unchanged is neither built nor given again. Archives are kept in $CACHE/images, the newest three operators.
# With a Docker that answers, Docker builds; without, buildah does, on a Debian made from the packages of this machine's own mirror.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${PGREEVE_CACHE:-/var/cache/pgreeve}
STATE=${PGREEVE_CLUSTER_DIR:-/var/lib/pgreeve-cluster}
export PATH="$CACHE/bin:$PATH"

say() { printf 'images: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# quietly COMMAND...: its output matters only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "failed: $*"
    fi
    rm -f "$log"
}

have_docker() { docker info >/dev/null 2>&1; }

hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# --- buildah ---------------------------------------------------------------------------------------------------------------

# A storage of our own, so that nobody else's images are touched.
builder() { buildah --root "$CACHE/containers" --runroot /run/pgreeve-containers --storage-driver "$driver" "$@"; }

storage_driver() {
    if [[ $(stat -f -c %T "$CACHE") == overlayfs ]]; then echo vfs; else echo overlay; fi # overlay does not nest
}

# The mirror that apt uses here, in either form of its sources.
mirror() {
    sed -nE 's/^URIs:\s*(\S*\/debian)\/?(\s.*)?$/\1/p; s/^deb\s+(\[[^]]*\]\s+)?(\S*\/debian)\/?\s.*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1
}

# ensure_base CODENAME: debian:CODENAME-slim.
ensure_base() {
    local codename=$1 base=docker.io/library/debian:$1-slim container rootfs
    [[ -z $(builder images -q "$base" 2>/dev/null) ]] || return 0
    say "making Debian $codename from packages"
    rootfs=$(mktemp "$CACHE/tmp/base.XXXXXX.tar")
    quietly mmdebstrap -q --variant=minbase --include=ca-certificates --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' "$codename" "$rootfs" "$(mirror)"
    container=$(builder from scratch)
    quietly builder add -q "$container" "$rootfs" /
    quietly builder config --cmd bash "$container"
    quietly builder commit -q --rm "$container" "$base"
    rm -f "$rootfs"
}

# --- build and give --------------------------------------------------------------------------------------------------------

# at_most WANTED THERE: a soft and hard limit. Left alone, buildah asks for more than a root without CAP_SYS_RESOURCE may have.
at_most() { if [[ $2 != unlimited && $2 -lt $1 ]]; then echo "$2:$2"; else echo "$1:$1"; fi; }

# build NAME ARCHIVE DIRECTORY [ARGUMENT...]: the Dockerfile of the directory, as an archive.
build() {
    local name=$1 archive=$2 context=$3
    shift 3
    say "building $name"
    if have_docker; then
        quietly docker build -t "$name" "$@" "$context"
        docker save -o "$archive.new" "$name"
    else
        "$here/tools.sh" cluster
        ensure_base "$(sed -nE 's/^FROM .*debian:([a-z]+)-slim.*/\1/p' "$context/Dockerfile" | head -n 1)"
        quietly builder bud --isolation chroot --pull-never --layers=false \
            --ulimit "nofile=$(at_most 65536 "$(ulimit -Hn)")" --ulimit "nproc=$(at_most 32768 "$(ulimit -Hu)")" -t "$name" "$@" "$context"
        rm -f "$archive.new"
        quietly builder push "$name" "docker-archive:$archive.new:$name"
        quietly builder rm --all # stages leave their containers behind
        quietly builder rmi --force "$name" # the archive is what counts
        quietly builder rmi --prune --force
    fi
    mv "$archive.new" "$archive"
}

# The cluster's directory remembers what it was given; it goes with the cluster.
give() {
    local name=$1 archive=$2
    [[ -s $STATE/kubeconfig ]] || return 0
    mkdir -p "$STATE/given"
    [[ ! $STATE/given/${archive##*/} -nt $archive ]] || return 0
    say "giving $name to the cluster"
    quietly "$here/cluster.sh" load "$archive"
    touch "$STATE/given/${archive##*/}"
}

provide() {
    local name=$1 archive=$2
    shift 2
    [[ -s $archive ]] || build "$name" "$archive" "$@"
    touch -a "$archive"
    give "$name" "$archive"
    echo "$name"
}

# provide_postgres MAJOR: 17, or 15 by the same Dockerfile on the Debian that has it.
provide_postgres() {
    local major=$1 context
    context=$(mktemp -d "$CACHE/tmp/context.XXXXXX")
    cp "$here/images/postgres.Dockerfile" "$context/Dockerfile"
    [[ $major != 15 ]] || sed -i 's/trixie/bookworm/; s/\b17\b/15/g' "$context/Dockerfile"
    provide "localhost/pgreeve-postgres:$major" "$CACHE/images/postgres-$(hash_of "$context/Dockerfile").tar" "$context"
    rm -rf "$context"
}

provide_s3() {
    local context hash
    "$here/tools.sh" versitygw
    context=$(mktemp -d "$CACHE/tmp/context.XXXXXX")
    cp "$here/images/versitygw.Dockerfile" "$context/Dockerfile"
    cp "$CACHE/bin/versitygw" "$context/"
    hash=$(hash_of "$context/Dockerfile" "$context/versitygw")
    provide "localhost/pgreeve-s3:$hash" "$CACHE/images/s3-$hash.tar" "$context"
    rm -rf "$context"
}

provide_operator() {
    local context hash
    context=$(mktemp -d "$CACHE/tmp/context.XXXXXX")
    cp "$here/../Dockerfile" "$context/"
    # Debug symbols are most of a binary and no use in an image.
    strip -o "$context/pgreeve" "$1" 2>/dev/null || cp "$1" "$context/pgreeve"
    hash=$(hash_of "$context/Dockerfile" "$context/pgreeve")
    provide "localhost/pgreeve:$hash" "$CACHE/images/operator-$hash.tar" "$context" --build-arg BUILD=given --build-arg "VERSION=$hash"
    rm -rf "$context"
    # shellcheck disable=SC2012 # our own names
    ls -tu "$CACHE"/images/operator-*.tar | tail -n +4 | xargs -r rm -f
}

main() {
    mkdir -p "$CACHE"/{images,tmp,locks}
    # Whatever a builder mounts, even one that is killed, ends with this process.
    [[ -n ${PGREEVE_OWN_MOUNTS:-} ]] || PGREEVE_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
    exec {lock}>"$CACHE/locks/images"
    flock "$lock"
    driver=$(storage_driver)
    case ${1:-} in
        postgres) provide_postgres "${2:-17}" ;;
        s3) provide_s3 ;;
        operator) provide_operator "${2:?the binary}" ;;
        *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
}

main "$@"
