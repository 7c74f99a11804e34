#!/usr/bin/env bash
# Is there a real Kubernetes cluster on this machine? One node, from released Kubernetes code, without any container engine.
#
#   hack/cluster.sh up              brings it up; nothing happens when it is healthy
#   hack/cluster.sh down            ends it and removes all it wrote
#   hack/cluster.sh status          says how it is; exit code 1 when it is not up
#   hack/cluster.sh check           proves Pods, Jobs, Services, names, logs and exec with a small workload
#   hack/cluster.sh load IMAGE.tar  gives it a docker-archive or OCI archive; Pods need imagePullPolicy Never or IfNotPresent
#   hack/cluster.sh images          lists what was given
#   hack/cluster.sh kubeconfig      prints the path of its kubeconfig
#
# State: ${PGREEVE_CLUSTER_DIR:-/var/lib/pgreeve-cluster}; another directory is another cluster beside the first. The cluster runs in
# namespaces of its own and has no way to the outside. The host reaches its API server, Pods and Services by their addresses.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${PGREEVE_CACHE:-/var/cache/pgreeve}
STATE=${PGREEVE_CLUSTER_DIR:-/var/lib/pgreeve-cluster}
export PATH="$CACHE/bin:$PATH"

say() { printf 'cluster: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
k() { kubectl --kubeconfig "$STATE/kubeconfig" "$@"; }

# --- the one process that carries all others -------------------------------------------------------------------------------

# A process id alone may be another's by now; with its start time it is certain.
identity() { echo "$1 $(awk '{print $22}' "/proc/$1/stat" 2>/dev/null)"; }

running() {
    local pid
    [[ -s $STATE/pid ]] && read -r pid _ <"$STATE/pid" && [[ $(identity "$pid") == "$(cat "$STATE/pid")" ]]
}

pid() { cut -d' ' -f1 "$STATE/pid"; }

# The child of `unshare` is the first process of the namespaces: the kernel ends all others with it.
start_node() {
    local node=$1 uplink=$2 services=$3
    # shellcheck disable=SC2016 # expanded by the new shell, which is the process to record
    setsid bash -c '
        echo "$$ $(awk "{print \$22}" /proc/$$/stat)" >"$1/pid"
        exec unshare --net --mount --pid --fork --mount-proc --kill-child=SIGKILL "${@:2}"
    ' node "$STATE" "$here/cluster/node.sh" "$STATE" "$node" "$uplink" "$services" \
        </dev/null >"$STATE/log/node.log" 2>&1 {lock}>&- &
    wait_until 10 "the node's process" running
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "$what did not come up in time: see $STATE/log"
        sleep 0.1
    done
}

# --- up --------------------------------------------------------------------------------------------------------------------

healthy() {
    running && [[ -s $STATE/kubeconfig ]] &&
        [[ $(k get node node -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

# The first number whose networks nobody uses: 10.89.N.0/30 to the host, 10.88.N.0/24 for Pods, 10.90.N.0/24 for Services.
free_number() {
    local number
    for number in {0..255}; do
        if ! ip -4 route | grep -qE "^10\.(88|89|90)\.$number\."; then
            echo "$number"
            return
        fi
    done
    fail "no free network among 10.88.0.0/16, 10.89.0.0/16 and 10.90.0.0/16"
}

connect_host() {
    local number=$1 node=$2
    wait_until 5 "the network namespace" own_network
    ip link add "pgreeve$number" type veth peer name eth0 netns "$(pid)"
    ip address add "10.89.$number.1/30" dev "pgreeve$number"
    ip link set "pgreeve$number" up
    ip route add "10.88.$number.0/24" via "$node"
    ip route add "10.90.$number.0/24" via "$node"
}

own_network() { [[ $(readlink "/proc/$(pid)/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }

write_kubeconfig() {
    local authority
    authority=$(base64 -w0 "$STATE/apiserver/apiserver.crt")
    sed "s|certificate-authority: [^}]*|certificate-authority-data: $authority|" "$STATE/admin.kubeconfig" >"$STATE/kubeconfig.new"
    mv "$STATE/kubeconfig.new" "$STATE/kubeconfig"
}

up() {
    [[ $EUID -eq 0 ]] || fail "must run as root: the node makes namespaces, mounts and network devices"
    if healthy; then
        say "up: export KUBECONFIG=$STATE/kubeconfig"
        return
    fi
    local began number node
    "$here/tools.sh" cluster
    remove
    began=$SECONDS
    number=$(free_number) node=10.89.$number.2
    install -d -m 700 "$STATE" "$STATE"/{log,containerd}
    echo "$number" >"$STATE/number"
    ln -s "$CACHE/images/busybox.tar" "$STATE/busybox.tar"
    "$here/cluster/config.sh" "$STATE" "$node" "10.88.$number.0/24" "pgreeve$number" "$CACHE/cni"
    make_cgroups "pgreeve$number"
    start_node "$node" "10.89.$number.1" "10.90.$number.0/24"
    connect_host "$number" "$node"
    wait_until 60 "the API server" test -s "$STATE/apiserver/apiserver.crt"
    write_kubeconfig
    wait_until 60 "the node" healthy
    wait_until 60 "the default service account" k get serviceaccount default
    say "up after $((SECONDS - began)) s: export KUBECONFIG=$STATE/kubeconfig"
}

# --- down ------------------------------------------------------------------------------------------------------------------

# All cgroup hierarchies: one for each controller in version 1, a single one in version 2.
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts; }

# The kubelet wants its root to exist.
make_cgroups() {
    local root
    for root in $(cgroup_roots); do
        mkdir -p "$root/$1"
    done
}

remove_cgroups() {
    local root
    for root in $(cgroup_roots); do
        [[ ! -d $root/$1 ]] || find "$root/$1" -depth -type d -exec rmdir {} \;
    done
}

# The first process of the namespaces is reaped after all others in them are gone, and the recorded one waits for that.
stop_node() {
    local recorded first
    running || return 0
    recorded=$(pid)
    first=$(cat "/proc/$recorded/task/$recorded/children")
    kill -KILL "${first:-$recorded}" || true
    wait_until 20 "the end of process $recorded" not_running
}

not_running() { ! running; }

# Removes a cluster in any state: running, half started, or killed.
remove() {
    [[ -d $STATE ]] || return 0
    [[ -e $STATE/number || -z $(ls -A "$STATE") ]] || fail "$STATE is not a cluster's directory: it is left alone"
    stop_node
    if [[ -s $STATE/number ]]; then
        ip link delete "pgreeve$(cat "$STATE/number")" 2>/dev/null || true # it goes with the namespace, a little later
        remove_cgroups "pgreeve$(cat "$STATE/number")"
    fi
    rm -rf "$STATE"
}

down() {
    remove
    say "down"
}

# --- use -------------------------------------------------------------------------------------------------------------------

status() {
    healthy || fail "not up: run '$0 up'"
    say "up, in $STATE"
    k get nodes -o wide
    k get pods -A
}

load() {
    running || fail "not up: run '$0 up'"
    ctr -a "$STATE/containerd.sock" -n k8s.io images import "$1"
}

images() {
    running || fail "not up: run '$0 up'"
    ctr -a "$STATE/containerd.sock" -n k8s.io images ls -q | grep -v '^sha256:'
}

main() {
    mkdir -p "$CACHE/locks"
    case ${1:-} in
        up | down)
            exec {lock}>"$CACHE/locks/cluster$(tr / - <<<"$STATE")"
            flock "$lock" # two callers must not bring up two
            "$1"
            ;;
        status | images) "$1" ;;
        check) healthy || fail "not up: run '$0 up'"; KUBECONFIG=$STATE/kubeconfig "$here/cluster/check.sh" ;;
        load) load "${2:?the archive of an image}" ;;
        kubeconfig) echo "$STATE/kubeconfig" ;;
        *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
}

main "$@"
