#!/usr/bin/env bash
# What runs on the one node of the test cluster? The first process of its namespaces; when a part ends, all end.
#
#   hack/cluster/node.sh STATE NODE UPLINK SERVICES     (called by hack/cluster.sh, which makes the namespaces)
#
# Mounts, addresses, firewall rules and processes live in namespaces of their own: whatever happens in them, nothing is left in the
# host when this process is gone.
set -euo pipefail

state=$1 node=$2 uplink=$3 services=$4

say() { printf 'node: %s\n' "$*"; }

isolate_mounts() {
    mount --make-rshared / # volumes with mount propagation; the peers are in this namespace only
    mount -t tmpfs tmpfs /run
    mount --bind "$state/log" /var/log
}

join_network() {
    local tries=0
    until ip link show eth0 >/dev/null 2>&1; do
        ((++tries < 100)) || { say "no uplink came"; exit 1; }
        sleep 0.05
    done
    ip link set lo up
    ip address add "$node/30" dev eth0
    ip link set eth0 up
    ip route add default via "$uplink"
    echo 1 >/proc/sys/net/ipv4/ip_forward
}

# start NAME COMMAND...: in the background, with a log of its own.
start() {
    local name=$1
    shift
    say "starting $name"
    "$@" >"$state/log/$name.log" 2>&1 &
    names[$!]=$name
}

# wait_for WHAT COMMAND...: until it succeeds; 60 s at most.
wait_for() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        ((++tries < 600)) || { say "$what is not ready after 60 s"; exit 1; }
        sleep 0.1
    done
}

# shellcheck disable=SC2317 # called through wait_for
listening() { (: <"/dev/tcp/$1/$2") 2>/dev/null; }

start_control_plane() {
    start etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --listen-peer-urls http://127.0.0.1:2380
    wait_for etcd listening 127.0.0.1 2379
    start apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 --cert-dir "$state/apiserver" --advertise-address "$node" \
        --service-cluster-ip-range "$services" --allow-privileged --authorization-mode Node,RBAC --token-auth-file "$state/tokens.csv" \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$state/service-account.pub" \
        --service-account-signing-key-file "$state/service-account.key" --kubelet-preferred-address-types InternalIP \
        --kubelet-client-certificate "$state/kubelet-client.crt" --kubelet-client-key "$state/kubelet-client.key"
}

start_controllers() {
    wait_for "the API server" kubectl --kubeconfig "$state/admin.kubeconfig" get --raw /readyz
    start controller-manager kube-controller-manager --kubeconfig "$state/controller-manager.kubeconfig" --leader-elect=false \
        --use-service-account-credentials --service-account-private-key-file "$state/service-account.key" \
        --root-ca-file "$state/apiserver/apiserver.crt"
    start scheduler kube-scheduler --kubeconfig "$state/scheduler.kubeconfig" --leader-elect=false
    start coredns coredns -conf "$state/Corefile" -dns.port 53
}

start_runtime() {
    start containerd containerd --config "$state/containerd.toml" --log-level warn
    wait_for containerd ctr -a "$state/containerd.sock" version
    ctr -a "$state/containerd.sock" -n k8s.io images import "$state/busybox.tar"
}

# --masquerade-all: a Pod that reaches itself or its neighbour through a Service must get the answer from the Service.
start_node() {
    start kubelet kubelet --kubeconfig "$state/kubelet.kubeconfig" --config "$state/kubelet.yaml" --root-dir "$state/kubelet" \
        --cert-dir "$state/kubelet/pki" --hostname-override node --node-ip "$node"
    start proxy kube-proxy --kubeconfig "$state/proxy.kubeconfig" --hostname-override node --proxy-mode iptables \
        --masquerade-all --conntrack-max-per-core 0
}

declare -A names=()
isolate_mounts
join_network
start_control_plane
start_runtime
start_controllers
start_node
wait -n -p ended || true
say "${names[$ended]} has ended; see $state/log/${names[$ended]}.log"
exit 1
