#!/usr/bin/env bash
# Do Pods, Jobs, Services, names, logs, exec and the way from the host work on the cluster of $KUBECONFIG?
set -euo pipefail

namespace=pgreeve-check-$$

k() { kubectl -n "$namespace" "$@"; }
say() { printf 'check: %s\n' "$*" >&2; }

clean_up() { kubectl delete namespace "$namespace" --wait=false >/dev/null; }

# A web server behind a Service, and a Job that finds it by name. Neither runs as root.
workload() {
    cat <<'END'
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: web
      image: localhost/busybox:test
      imagePullPolicy: Never
      command: [sh, -c, 'echo it works >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
      readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: client}
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
        - name: client
          image: localhost/busybox:test
          imagePullPolicy: Never
          command: [sh, -c, 'nslookup kubernetes.default.svc.cluster.local && until wget -qO- http://web/index.html; do sleep 0.2; done']
END
}

expect() {
    local what=$1 wanted=$2 got
    shift 2
    got=$("$@") || { say "$what: $* failed"; exit 1; }
    [[ $got == *"$wanted"* ]] || { say "$what: wanted '$wanted', got: $got"; exit 1; }
    say "$what works"
}

kubectl create namespace "$namespace" >/dev/null
trap clean_up EXIT
until k get serviceaccount default >/dev/null 2>&1; do sleep 0.1; done
workload | k apply -f - >/dev/null
k wait --for=condition=Ready pod/web --timeout=60s >/dev/null
k wait --for=condition=Complete job/client --timeout=60s >/dev/null
expect "a Job, its name service, a Service and logs" "it works" k logs job/client
expect "exec" "uid=65532" k exec web -- id
expect "the way from the host to a Pod" "it works" \
    curl -sS --max-time 5 "http://$(k get pod web -o 'jsonpath={.status.podIP}'):8080/index.html"
expect "the way from the host to a Service" "it works" \
    curl -sS --max-time 5 "http://$(k get service web -o 'jsonpath={.spec.clusterIP}')/index.html"
