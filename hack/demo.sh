#!/usr/bin/env bash
# What does pgreeve do for a team whose partitions are kept by hand? Shows it on a real cluster, with a real PostgreSQL and real rows.
#
#   hack/demo.sh up      brings up what is missing, then tells the story; again and again
#   hack/demo.sh down    removes all of it
#
# The cluster: the context PGREEVE_DEMO_CONTEXT when it is set, with the operator's image PGREEVE_DEMO_IMAGE (name:tag, where that cluster
# can pull it); else kind, where Docker and kind work; else hack/cluster.sh. PGREEVE_BINARY, when set, is used instead of compiling.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
CACHE=${PGREEVE_CACHE:-/var/cache/pgreeve}
export PGREEVE_CLUSTER_DIR=${PGREEVE_DEMO_DIR:-/var/lib/pgreeve-demo} PATH="$PATH:$CACHE/bin:${CARGO_HOME:-$HOME/.cargo}/bin"
context=${PGREEVE_DEMO_CONTEXT:-}
kind_cluster=pgreeve-demo
operator=pgreeve-demo # its namespace and its release
examples=(postgres-database.yaml partition-policy-chat-history.yaml partition-policy-cost-tracking.yaml)
policies=(partitionpolicy/chat-history partitionpolicy/cost-tracking)

say() { printf 'demo: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

k() { kubectl ${context:+--context "$context"} -n demo "$@"; }

# show ARGUMENT...: a kubectl command and what it answers, as a reader would type it.
show() { printf '$ kubectl -n demo %s\n' "$*" && k "$@"; }

# --- a cluster, a binary, images -------------------------------------------------------------------------------------------

where() {
    if [[ -n ${PGREEVE_DEMO_CONTEXT:-} ]]; then
        echo context
    elif docker info >/dev/null 2>&1 && command -v kind >/dev/null; then
        echo kind
    else
        echo own
    fi
}

ensure_tools() {
    local missing=()
    command -v kubectl >/dev/null || missing+=(apiserver)
    command -v helm >/dev/null || missing+=(helm)
    command -v cargo >/dev/null || ! compiles || missing+=(rust)
    [[ ${#missing[@]} -eq 0 ]] || "$here/tools.sh" "${missing[@]}"
}

ensure_cluster() {
    case $(where) in
        kind) kind get clusters 2>/dev/null | grep -qx "$kind_cluster" || kind create cluster --name "$kind_cluster" ;;
        own) "$here/cluster.sh" up && "$here/images.sh" postgres >/dev/null ;;
        context) ;;
    esac
}

choose_context() {
    case $(where) in
        kind) context=kind-$kind_cluster ;;
        own) export KUBECONFIG=$PGREEVE_CLUSTER_DIR/kubeconfig ;;
        context) ;;
    esac
}

# A cluster of somebody else's gets an image that is there already.
compiles() { [[ -z ${PGREEVE_BINARY:-} && $(where) != context ]]; }

build_binary() {
    binary=${PGREEVE_BINARY:-}
    compiles || return 0
    say "compiling"
    cargo build --quiet --release --locked --bin pgreeve
    binary=$top/${CARGO_TARGET_DIR:-target}/release/pgreeve
    [[ ${CARGO_TARGET_DIR:-} != /* ]] || binary=$CARGO_TARGET_DIR/release/pgreeve
}

# Prints name:tag of the operator's image and brings it to the cluster.
operator_image() {
    case $(where) in
        context) echo "${PGREEVE_DEMO_IMAGE:?set PGREEVE_DEMO_IMAGE to an image that the cluster of $context can pull}" ;;
        kind)
            local image
            image=$("$here/images.sh" operator "$binary")
            kind load docker-image --name "$kind_cluster" "$image" >&2
            echo "$image"
            ;;
        own) "$here/images.sh" operator "$binary" ;;
    esac
}

postgres_image() {
    if [[ $(where) == own ]]; then echo localhost/pgreeve-postgres:17; else echo postgres:17; fi
}

# --- pgreeve and PostgreSQL ------------------------------------------------------------------------------------------------

install_operator() {
    local image=$1 crds=true
    # Definitions of another installation stay that installation's.
    if kubectl ${context:+--context "$context"} get crd partitionpolicies.pgreeve.dev >/dev/null 2>&1 &&
        ! helm ${context:+--kube-context "$context"} -n "$operator" status "$operator" >/dev/null 2>&1; then
        crds=false
    fi
    helm ${context:+--kube-context "$context"} upgrade --install "$operator" "$top/charts/pgreeve" --namespace "$operator" --create-namespace \
        --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --set "crds.enabled=$crds" --set crds.keep=false \
        --set 'watchNamespaces={demo}' --wait --timeout 2m >/dev/null
}

# A private CA and a server certificate, as a platform team would hand them out; kept while the namespace lives.
ensure_certificates() {
    k get secret postgres-tls >/dev/null 2>&1 && return
    local files
    files=$(mktemp -d)
    (
        cd "$files"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=demo CA" -keyout ca.key -out ca.crt
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=postgres -keyout tls.key -out tls.csr
        openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out tls.crt \
            -extfile <(echo "subjectAltName=DNS:postgres.demo.svc,DNS:postgres.demo.svc.cluster.local,DNS:postgres")
    ) >/dev/null 2>&1
    k create secret generic chat-ca --from-file="$files/ca.crt" >/dev/null
    k create secret generic postgres-tls --from-file="$files/tls.crt" --from-file="$files/tls.key" >/dev/null
    rm -rf "$files"
}

ensure_postgres() {
    kubectl ${context:+--context "$context"} create namespace demo --dry-run=client -o yaml | k apply -f - >/dev/null
    ensure_certificates
    sed "s|image: postgres:17|image: $(postgres_image)|" "$here/demo/postgres.yaml" | k apply -f - >/dev/null
    k rollout status deployment/postgres --timeout 120s >/dev/null
}

sql() { k exec -i deployment/postgres -- psql -qX "$@"; }

# The same beginning for every run, with a new password: nobody restarts anything for it.
load_rows() {
    local password
    password=$(openssl rand -hex 16)
    { printf '\\set password %s\n' "$password" && cat "$here/demo/tables.sql"; } | sql
    k create secret generic chat-app --dry-run=client -o yaml --from-literal=host=postgres.demo.svc --from-literal=port=5432 \
        --from-literal=dbname=chat --from-literal=username=chat_owner --from-file=password=<(printf %s "$password") |
        k apply -f - >/dev/null
}

# --- the story -------------------------------------------------------------------------------------------------------------

forget_last_run() {
    k delete partitionpolicies,postgresdatabases --all >/dev/null 2>&1 || true # the kinds may not exist yet
    k delete events --all >/dev/null
}

tell_what_there_is() {
    step "A chat service's database: months by hand, one forgotten, none to come"
    sql -At chat <<<"SELECT format('%s rows in chat_history, %s in cost_tracking, %s on disk, owned by %s', (SELECT count(*) FROM chat_history),
        (SELECT count(*) FROM cost_tracking), (SELECT pg_size_pretty(pg_database_size('chat'))), 'chat_owner (not superuser)')"
    sql chat <"$here/demo/partitions.sql"
}

tell_what_would_change() {
    step "What would pgreeve do? The same files with mode: Observe change nothing"
    local file
    for file in "${examples[@]}"; do
        case $file in
            partition-policy-*) k patch --local -f "examples/$file" --type merge -p '{"spec": {"mode": "Observe"}}' -o json ;;
            *) cat "examples/$file" ;;
        esac | k apply -f - >/dev/null
    done
    for file in "${policies[@]}"; do
        k wait "$file" --for='jsonpath={.status.plan.fingerprint}' --timeout=60s >/dev/null
    done
    show get "${policies[0]}" -o 'jsonpath={.status.plan.summary}{"  ("}{.status.plan.fingerprint}{")\n"}{range .status.plan.actions[*]}{"  "}{@}{"\n"}{end}'
}

tell_what_changed() {
    step "As the files are: mode Apply"
    local file began
    began=$(date +%s%N)
    for file in "${examples[@]}"; do
        show apply -f "examples/$file"
    done
    show wait "${policies[@]}" --for='jsonpath={.status.lastRun.outcome}=Succeeded' --timeout=60s
    show wait "${policies[@]}" --for=condition=Ready --timeout=60s
    printf 'after %s ms\n' $((($(date +%s%N) - began) / 1000000))
    show get pgreeve
    sql chat <"$here/demo/partitions.sql"
}

tell_what_is_watched() {
    step "Conditions, events, metrics"
    show get "${policies[0]}" -o 'jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}'
    show get events --field-selector involvedObject.kind=PartitionPolicy -o 'custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message'
    metrics | grep '^pgreeve_partition_horizon_seconds'
}

# Through the API server, so that it works wherever the cluster is.
metrics() {
    local pod
    pod=$(kubectl ${context:+--context "$context"} -n "$operator" get pods -l app.kubernetes.io/name=pgreeve -o 'jsonpath={.items[0].metadata.name}')
    kubectl ${context:+--context "$context"} get --raw "/api/v1/namespaces/$operator/pods/$pod:8080/proxy/metrics"
}

tell_what_a_mistake_does() {
    step "Somebody drops a partition by hand"
    local next asked
    next=chat_history_$(date -ud "$(date -u +%Y-%m-15) 1 month" +%Y_%m)
    echo "DROP TABLE $next"
    sql chat <<<"DROP TABLE $next"
    asked=$(date -u +%FT%T.%NZ)
    show annotate "${policies[0]}" "pgreeve.dev/requestedAt=$asked" --overwrite # or wait for the next look
    k wait "${policies[0]}" --for="jsonpath={.status.lastHandledReconcileAt}=$asked" --timeout=60s >/dev/null
    k wait "${policies[0]}" --for=condition=Ready --timeout=60s >/dev/null
    show get "${policies[0]}" -o 'jsonpath={.status.lastRun.outcome}{": "}{.status.lastRun.message}{"\n"}'
    sql chat <"$here/demo/partitions.sql"
}

# --- up, down --------------------------------------------------------------------------------------------------------------

up() {
    local began=$SECONDS cluster image
    cd "$top"
    ensure_tools
    ensure_cluster &
    cluster=$!
    build_binary
    wait "$cluster" || fail "no cluster"
    choose_context
    ensure_postgres
    forget_last_run
    image=$(operator_image)
    install_operator "$image"
    load_rows
    say "ready after $((SECONDS - began)) s"
    tell_what_there_is
    tell_what_would_change
    tell_what_changed
    tell_what_is_watched
    tell_what_a_mistake_does
    say "done after $((SECONDS - began)) s. Look around: ${KUBECONFIG:+KUBECONFIG=$KUBECONFIG }kubectl ${context:+--context $context }-n demo get pgreeve"
}

down() {
    if [[ $(where) == context ]]; then
        k delete partitionpolicies,postgresdatabases --all >/dev/null 2>&1 || true
        helm --kube-context "$context" -n "$operator" uninstall "$operator" --ignore-not-found --wait
        kubectl --context "$context" delete namespace demo "$operator" --ignore-not-found
        return
    fi
    if command -v kind >/dev/null && kind get clusters 2>/dev/null | grep -qx "$kind_cluster"; then
        kind delete cluster --name "$kind_cluster"
    fi
    "$here/cluster.sh" down
}

case ${1:-} in
    up | down) "$1" ;;
    *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
