#!/usr/bin/env bash
# What does pgreeve do for a team whose partitions are kept by hand? Shows it on a real cluster, with a real PostgreSQL and real rows.
#
#   hack/demo.sh up      brings up what is missing, then tells the story; again and again
#   hack/demo.sh down    removes all of it
#
# The cluster: the context PGREEVE_DEMO_CONTEXT when it is set, with the operator's image PGREEVE_DEMO_IMAGE (name:tag, where that cluster
# can pull it) and that of the S3 server, PGREEVE_DEMO_S3_IMAGE (by default versity/versitygw); else kind, where Docker and kind work; else
# hack/cluster.sh. PGREEVE_BINARY, when set, is used instead of compiling.
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
retention=retentionpolicy/chat-history

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
        own) "$here/cluster.sh" up && "$here/images.sh" postgres >/dev/null && "$here/images.sh" s3 >/dev/null ;;
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

# Prints the name of the S3 server's image and brings it to the cluster.
s3_image() {
    local image
    case $(where) in
        context) echo "${PGREEVE_DEMO_S3_IMAGE:-versity/versitygw}" ;;
        kind)
            image=$("$here/images.sh" s3)
            kind load docker-image --name "$kind_cluster" "$image" >&2
            echo "$image"
            ;;
        own) "$here/images.sh" s3 ;;
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
        --set-literal "images.postgres=$(postgres_image | sed 's/:17$/:{major}/')" --set restores.workloads.enabled=true \
        --set 'watchNamespaces={demo}' --wait --timeout 2m >/dev/null
}

# A private CA and a certificate for each server, as a platform team would hand them out; kept while the namespace lives.
ensure_certificates() {
    k get secret chat-ca postgres-tls s3-tls >/dev/null 2>&1 && return
    local files server
    files=$(mktemp -d)
    k delete deployment postgres s3 --ignore-not-found --wait >/dev/null # they would go on with those of another CA
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=demo CA" \
        -keyout "$files/ca.key" -out "$files/ca.crt" 2>/dev/null
    secret chat-ca --from-file="$files/ca.crt"
    for server in postgres s3; do
        certify "$server" "$files"
        secret "$server-tls" --from-file="$files/tls.crt" --from-file="$files/tls.key"
    done
    rm -rf "$files"
}

# certify SERVER DIRECTORY: tls.key and tls.crt for a Service of that name, by the directory's CA.
certify() {
    (
        cd "$2"
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout tls.key -out tls.csr
        openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out tls.crt \
            -extfile <(echo "subjectAltName=DNS:$1.demo.svc,DNS:$1.demo.svc.cluster.local,DNS:$1")
    ) 2>/dev/null
}

# secret NAME ARGUMENT...: makes it, or replaces what it holds.
secret() { k create secret generic "$@" --dry-run=client -o yaml | k apply -f - >/dev/null; }

ensure_servers() {
    kubectl ${context:+--context "$context"} create namespace demo --dry-run=client -o yaml | k apply -f - >/dev/null
    ensure_certificates
    k get secret archive >/dev/null 2>&1 ||
        secret archive --from-literal=AWS_ACCESS_KEY_ID=demo --from-file=AWS_SECRET_ACCESS_KEY=<(openssl rand -hex 20 | tr -d '\n')
    local image
    image=$(s3_image)
    sed "s|image: postgres:17|image: $(postgres_image)|" "$here/demo/postgres.yaml" | k apply -f - >/dev/null
    sed "s|image: versity/versitygw|image: $image|" "$here/demo/s3.yaml" | k apply -f - >/dev/null
    k rollout status deployment/postgres --timeout 120s >/dev/null
    k rollout status deployment/s3 --timeout 120s >/dev/null
}

sql() { k exec -i deployment/postgres -- psql -qX "$@"; }

# The same beginning for every run, with a new password: nobody restarts anything for it.
load_rows() {
    local password
    password=$(openssl rand -hex 16)
    { printf '\\set password %s\n' "$password" && cat "$here/demo/tables.sql"; } | sql
    secret chat-app --from-literal=host=postgres.demo.svc --from-literal=port=5432 \
        --from-literal=dbname=chat --from-literal=username=chat_owner --from-file=password=<(printf %s "$password")
}

# --- the story -------------------------------------------------------------------------------------------------------------

forget_last_run() {
    delete_policies
    k delete deployment/api-gateway deployment/ml-service pod/client --ignore-not-found >/dev/null
    bucket find archive backups -mindepth 1 -delete
    k delete events --all >/dev/null
}

# Those that let data go first. The kinds may not exist yet.
delete_policies() {
    local kind
    for kind in restores backupschedules backups retentionpolicies partitionpolicies retentionholds postgresdatabases; do
        k delete "$kind" --all >/dev/null 2>&1 || true
    done
}

# bucket COMMAND...: a command where each directory is a bucket.
bucket() { k exec deployment/s3 -- "$@"; }

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

tell_what_would_leave() {
    step "Chats are kept for a year; an audit needs one of the older months. What would leave?"
    local oldest
    sql chat <"$here/demo/oldest.sql"
    oldest=$(date -u +%Y-%m-15)
    sed "s/FROM/$(date -ud "$oldest -13 months" +%Y-%m-01)/; s/TO/$(date -ud "$oldest -12 months" +%Y-%m-01)/" "$here/demo/retention-hold.yaml" |
        k apply -f - >/dev/null
    k wait retentionhold/audit --for=condition=Ready --timeout=60s >/dev/null
    show get retentionhold/audit
    k patch --local -f "$here/demo/retention-policy.yaml" --type merge -p '{"spec": {"mode": "Observe"}}' -o json | k apply -f - >/dev/null
    k wait "$retention" --for='jsonpath={.status.plan.fingerprint}' --timeout=60s >/dev/null
    show get "$retention" -o 'jsonpath={.status.plan.summary}{"  ("}{.status.plan.fingerprint}{")\n"}{range .status.plan.actions[*]}{"  "}{@}{"\n"}{end}{range .status.held[*]}{"  held: "}{@}{"\n"}{end}'
}

tell_what_leaves() {
    step "As the file is: a Job writes the month to the bucket and reads it back; then it is detached and dropped"
    local jobs watch
    jobs=$(mktemp)
    # Not through k, of which the process to end would be a shell.
    kubectl ${context:+--context "$context"} -n demo get jobs -l pgreeve.dev/policy=chat-history,pgreeve.dev/kind=RetentionPolicy \
        --watch --output-watch-events >"$jobs" 2>/dev/null &
    watch=$!
    trap 'kill "'"$watch"'" 2>/dev/null || true' EXIT
    show apply -f hack/demo/retention-policy.yaml
    show annotate "$retention" "pgreeve.dev/requestedAt=$(date -u +%FT%T.%NZ)" --overwrite # or wait for the second of the month
    k wait "$retention" --for='jsonpath={.status.backlogBytes}=0' --timeout=60s >/dev/null
    show wait "$retention" --for=condition=Ready --timeout=60s
    kill "$watch"
    wait "$watch" || true
    trap - EXIT
    echo "\$ kubectl -n demo get jobs -l pgreeve.dev/policy=chat-history,pgreeve.dev/kind=RetentionPolicy --watch --output-watch-events"
    cat "$jobs"
    rm -f "$jobs"
    show get events --field-selector involvedObject.kind=RetentionPolicy -o 'custom-columns=REASON:.reason,MESSAGE:.message'
    show get rpol
    show get "$retention" -o 'jsonpath={range .status.exports[*]}{.partition}{": "}{.rows}{" rows, "}{.bytes}{" bytes, checksum "}{.checksum}{", verified "}{.verifiedAt}{"\n"}{.url}{"\n"}{end}'
    sql chat <"$here/demo/oldest.sql"
}

tell_what_is_in_the_bucket() {
    step "What is in the bucket? Its keys are files of the S3 server"
    local manifest
    show exec deployment/s3 -- find archive -type f -size +0 -exec wc -c '{}' +
    manifest=$(k get "$retention" -o 'jsonpath={.status.exports[0].url}')
    manifest=${manifest#s3://}
    echo "\$ kubectl -n demo exec deployment/s3 -- cat $manifest   # shortened"
    sql -v manifest="$(bucket cat "$manifest")" chat <"$here/demo/manifest.sql"
}

# shellcheck source=hack/demo/backups.sh
source "$here/demo/backups.sh"

# --- up, down --------------------------------------------------------------------------------------------------------------

up() {
    local began=$SECONDS cluster image rows
    cd "$top"
    ensure_tools
    ensure_cluster &
    cluster=$!
    build_binary
    wait "$cluster" || fail "no cluster"
    choose_context
    ensure_servers
    forget_last_run
    load_rows &
    rows=$!
    image=$(operator_image)
    install_operator "$image"
    wait "$rows" || fail "no rows"
    say "ready after $((SECONDS - began)) s"
    tell_what_there_is
    tell_what_would_change
    tell_what_changed
    tell_what_is_watched
    tell_what_a_mistake_does
    tell_what_would_leave
    tell_what_leaves
    tell_what_is_in_the_bucket
    start_services
    tell_what_is_backed_up
    tell_the_disaster
    tell_what_a_restore_would_do
    tell_the_restore
    say "done after $((SECONDS - began)) s. Look around: ${KUBECONFIG:+KUBECONFIG=$KUBECONFIG }kubectl ${context:+--context $context }-n demo get pgreeve"
}

down() {
    if [[ $(where) == context ]]; then
        delete_policies
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
