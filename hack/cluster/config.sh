#!/usr/bin/env bash
# What are the parts of the test cluster told? Writes keys, tokens, kubeconfigs and configuration files below one directory.
#
#   hack/cluster/config.sh STATE NODE PODS CGROUP CNI
#   STATE    the directory                        NODE   the node's address             PODS   the network of the Pods
#   CGROUP   below which all Pods are, exists     CNI    where the CNI plugins are
set -euo pipefail

state=$1 node=$2 pods=$3 cgroup=$4 cni=$5

# write_user USER GROUP NAME: a static token and the kubeconfig that carries it. Each part has its own rights and no others.
write_user() {
    local token
    token=$(openssl rand -hex 16)
    echo "$token,$1,$1,\"$2\"" >>"$state/tokens.csv"
    cat >"$state/$3.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: pgreeve, cluster: {server: "https://$node:6443", certificate-authority: $state/apiserver/apiserver.crt}}]
users: [{name: $1, user: {token: $token}}]
contexts: [{name: pgreeve, context: {cluster: pgreeve, user: $1}}]
current-context: pgreeve
END
}

write_users() {
    write_user admin system:masters admin
    write_user system:kube-controller-manager "" controller-manager
    write_user system:kube-scheduler "" scheduler
    write_user system:kube-proxy "" proxy
    write_user system:node:node system:nodes kubelet
}

# The kubelet obeys nobody but the API server, which shows a certificate that is its own authority.
write_keys() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/O=system:masters/CN=kube-apiserver" \
        -keyout "$state/kubelet-client.key" -out "$state/kubelet-client.crt" 2>/dev/null
    openssl genrsa -out "$state/service-account.key" 2048 2>/dev/null
    openssl rsa -in "$state/service-account.key" -pubout -out "$state/service-account.pub" 2>/dev/null
}

write_kubelet() {
    : >"$state/resolv.conf"
    cat >"$state/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $state/kubelet-client.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$state/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
clusterDNS: [$node]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100 # an image that was loaded by hand cannot be pulled again
imageGCLowThresholdPercent: 99
readOnlyPort: 0
oomScoreAdj: 0
nodeStatusUpdateFrequency: 5s
END
}

write_containerd() {
    local snapshotter=overlayfs
    [[ $(stat -f -c %T "$state") != overlayfs ]] || snapshotter=native # overlayfs does not nest
    cat >"$state/containerd.toml" <<END
version = 2
root = "$state/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/busybox:test"
  restrict_oom_score_adj = true # a root without CAP_SYS_RESOURCE may not lower the score
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni"
    conf_dir = "$state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
}

write_network() {
    mkdir -p "$state/cni"
    cat >"$state/cni/10-bridge.conflist" <<END
{"cniVersion": "0.4.0", "name": "pgreeve", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

# Names outside the cluster do not exist: nothing in it may depend on the world, and a wrong host name fails at once.
write_dns() {
    cat >"$state/Corefile" <<END
. {
    bind $node
    health 127.0.0.1:8080
    errors
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $state/admin.kubeconfig
        ttl 1
    }
    template ANY ANY {
        rcode NXDOMAIN
    }
}
END
}

umask 077
write_users
write_keys
write_kubelet
write_containerd
write_network
write_dns
