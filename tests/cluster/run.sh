#!/usr/bin/env bash
# Does the demo do what it says on a real cluster? Runs it twice on a cluster of its own, looks at what is there, and removes it.
#
#   tests/cluster/run.sh           all of it
#   tests/cluster/run.sh --keep    leaves the cluster up, to look around
#
# PGREEVE_BINARY, when set, is used instead of the debug build.
set -uo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${PGREEVE_CACHE:-/var/cache/pgreeve}
export PGREEVE_DEMO_DIR=/var/lib/pgreeve-test PGREEVE_CLUSTER_DIR=/var/lib/pgreeve-test PATH="$CACHE/bin:$PATH:$HOME/.cargo/bin"
export KUBECONFIG=$PGREEVE_DEMO_DIR/kubeconfig
unset PGREEVE_DEMO_CONTEXT
out=$(mktemp -d)
passed=0 failed=0

k() { kubectl -n demo "$@"; }
sql() { k exec -i deployment/postgres -- psql -qXAt -U postgres chat -c "$1"; }
metrics() { kubectl get --raw "/api/v1/namespaces/pgreeve-demo/pods/$(operator_pod):8080/proxy/metrics"; }
operator_pod() { kubectl -n pgreeve-demo get pods -l app.kubernetes.io/name=pgreeve -o 'jsonpath={.items[0].metadata.name}'; }

# check SENTENCE COMMAND...: the sentence is true when the command succeeds; what it printed is shown when it does not.
check() {
    local sentence=$1
    shift
    if "$@" >"$out/check" 2>&1; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$sentence"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s: %s\n' "$sentence" "$*"
        sed 's/^/        /' "$out/check"
    fi
}

# same WANTED COMMAND...: the command prints exactly that.
same() {
    local wanted=$1 got
    shift
    got=$("$@")
    [[ $got == "$wanted" ]] || { printf 'wanted: %s\ngot:    %s\n' "$wanted" "$got"; return 1; }
}

# --- the demo --------------------------------------------------------------------------------------------------------------

first_run() { "$top/hack/demo.sh" up >"$out/first" 2>&1 || { cat "$out/first"; return 1; }; }

second_run() {
    local began=$SECONDS
    "$top/hack/demo.sh" up >"$out/second" 2>&1 || { cat "$out/second"; return 1; }
    echo "took $((SECONDS - began)) s"
    [[ $((SECONDS - began)) -lt 600 ]]
}

shows() { grep -qF -- "$1" "$out/first" || { echo "the demo never printed: $1"; return 1; }; }

check_demo() {
    check "a cluster comes up and runs Pods, Jobs, Services and names" cluster_works
    check "the demo runs from nothing" first_run
    check "it shows a plan before anything is changed" shows "to create"
    check "it shows the metric of the horizon" shows 'pgreeve_partition_horizon_seconds{'
    check "it says what became of the dropped partition" shows "Succeeded"
    check "it shows what would leave before anything does" shows "1 to export"
    check "it shows what a hold keeps" shows "(RetentionHold demo/audit)"
    check "it shows the Job that exports" shows "chat-history-export-"
    check "it shows the manifest" shows '"checksum": "'
    check "it shows what a restore would do before it does it" shows "everything written after that is lost"
    check "it shows how far the backup is proven" shows "Verified: restored: all 2140000 rows are there"
    check "a second run takes less than ten minutes" second_run
    local run
    for run in first second; do
        check "$run run: api-gateway was seen at 0 during the restore and came back to 2" went_and_came "$run" 4 2
        check "$run run: ml-service was seen at 0 during the restore and came back to 3" went_and_came "$run" 5 3
        # Two processors start five Pods at the same moment; what an idle machine shows is measured by a benchmark.
        check "$run run: a client found the database again within 5 s" client_waited_less_than "$run" 5
        check "$run run: the client missed the dropped table for longer than that" client_missed_the_table "$run"
    done
}

# The table that the demo prints of the restore: seconds, "s", step, and of each service the Pods ready/wanted.
course() { awk 'NF == 5 && $1 ~ /^[0-9.]+$/ && $2 == "s" && $4 $5 ~ /^[0-9]+\/[0-9]+\/[0-9]+$/' "$out/$1"; }

# went_and_came RUN COLUMN REPLICAS: a service had no Pod and wanted none, and has all of them at the end.
went_and_came() {
    course "$1" | awk -v column="$2" -v all="$3/$3" '{ gone += $column == "0/0"; last = $column } END { exit !(gone && last == all) }' ||
        { course "$1"; return 1; }
}

# What the client measured, in seconds: of the database, and of the table that was dropped.
downtime() { sed -n 's/^the downtime that the client measured: \([0-9.]*\) s .*/\1/p' "$out/$1"; }
table_missed() { sed -n 's/^of the dropped table it had no right answer for \([0-9.]*\) s$/\1/p' "$out/$1"; }

# is_less A B: both are numbers, and the first is less.
is_less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a ~ /^[0-9.]+$/ && b ~ /^[0-9.]+$/ && a + 0 < b + 0) }' || { echo "not less: '$1' than '$2'"; return 1; }; }

client_waited_less_than() { is_less "$(downtime "$1")" "$2"; }
client_missed_the_table() { is_less "$(downtime "$1")" "$(table_missed "$1")"; }

cluster_works() { "$top/hack/cluster.sh" up && "$top/hack/cluster.sh" check; }

# --- what is there ---------------------------------------------------------------------------------------------------------

# months_missing TABLE BACK AHEAD: of the months from the oldest partition to the last that must be there.
months_missing() {
    sql "SELECT count(*) FROM generate_series(date_trunc('month', now()) - interval '$2 months',
            date_trunc('month', now()) + interval '$3 months', interval '1 month') AS month
         WHERE to_regclass('$1_' || to_char(month, 'YYYY_MM')) IS NULL"
}

rows() { sql "SELECT count(*) FROM $1"; }

rows_and_exported() { echo $(($(rows chat_history) + $(export_says rows))); }

# What distinguishes a partition from its siblings: owner, privileges, number of indexes. One line when nothing does.
kinds_of_partition() {
    sql "SELECT count(DISTINCT (relowner, relacl::text, (SELECT count(*) FROM pg_index WHERE indrelid = p.oid)))
         FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid WHERE inhparent = '$1'::regclass"
}

check_database() {
    check "chat_history is covered for three months, the forgotten one included" same 0 months_missing chat_history 13 3
    check "cost_tracking is covered for six months" same 0 months_missing cost_tracking 14 6
    check "the month of chat_history that nobody wants is gone" same "" sql "SELECT to_regclass('chat_history_' || to_char(now() - interval '14 months', 'YYYY_MM'))"
    check "no row of chat_history is lost: they are in the table or exported" same 1400000 rows_and_exported
    check "no row of cost_tracking is lost" same 840000 rows cost_tracking
    check "new partitions of chat_history are like their siblings" same 1 kinds_of_partition chat_history
    check "new partitions of cost_tracking are like their siblings" same 1 kinds_of_partition cost_tracking
    check "a row of the last covered month has a place" accepts_a_late_row
}

accepts_a_late_row() {
    sql "BEGIN; INSERT INTO chat_history (user_id, role, content, created_at)
         VALUES (1, 'user', 'late', date_trunc('month', now()) + interval '3 months 20 days'); ROLLBACK"
}

# --- the export ------------------------------------------------------------------------------------------------------------

export_says() { k get retentionpolicy/chat-history -o "jsonpath={.status.exports[0].$1}"; }
bucket() { k exec deployment/s3 -- "$@"; }
manifest_says() { bucket cat "$(manifest)" | jq -r "$1"; }
manifest() { export_says url | sed 's|^s3://||'; }

# The object lies beside its manifest, and is what the manifest says.
object_is_the_manifests() {
    local object
    object=$(dirname "$(manifest)")/$(manifest_says .data.name)
    same "$(manifest_says .data.sha256)" sum_of "$object" && same "$(manifest_says .data.bytes)" bucket stat -c %s "$object" &&
        same PAR1 bucket tail -c 4 "$object"
}

sum_of() { bucket sha256sum "$1" | cut -d' ' -f1; }

check_export() {
    check "one export is in the status" same 1 exports_in_status
    check "the manifest and the status name one checksum" same "$(export_says checksum)" manifest_says .checksum
    check "the manifest counts the month's rows" same 100000 manifest_says .rows
    check "the object is what its manifest says" object_is_the_manifests
    check "the bucket holds nothing else" same 2 files_in_bucket
    check "the Job is gone when its report is recorded" same "" k get jobs -l pgreeve.dev/kind=RetentionPolicy -o name
    check "the key of the bucket is in no log, event, status or metric" secret_is_nowhere archive AWS_SECRET_ACCESS_KEY
}

# --- the backup and the restore ----------------------------------------------------------------------------------------------

backup() { k get backups -o 'jsonpath={.items[0].metadata.name}'; }
backup_says() { k get backups -o "jsonpath={.items[0].status.$1}"; }
restore_says() { k get restore/chat-back -o "jsonpath={.status.$1}"; }
backup_manifest_says() { bucket cat "$(backup_says url | sed 's|^s3://||')" | jq -r "$1"; }

# The object lies beside its manifest, and is what that says.
backup_is_the_manifests() {
    local object
    object=$(dirname "$(backup_says url | sed 's|^s3://||')")/$(backup_manifest_says .data.name)
    same "$(backup_manifest_says .data.sha256)" sum_of "$object"
}

# Its name has a moment of the schedule, and soon after that it was made.
came_on_time() {
    local moment made
    [[ $(backup) =~ ^chat-nightly-([0-9]{8})-([0-9]{2})([0-9]{2})$ ]] || { backup; return 1; }
    moment=$(date -ud "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}:${BASH_REMATCH[3]}" +%s)
    made=$(date -d "$(k get backups -o 'jsonpath={.items[0].metadata.creationTimestamp}')" +%s)
    [[ $made -ge $moment && $made -lt $((moment + 120)) ]] || { echo "$(backup) was made $((made - moment)) s after its moment"; return 1; }
}

schedule_says() { k get backupschedule/chat-nightly -o "jsonpath={$1}"; }

# The answer is to the very request.
restore_test_is_answered() {
    local asked
    asked=$(k get backups -o 'jsonpath={.items[0].metadata.annotations.pgreeve\.dev/restoreTest}')
    [[ -n $asked ]] && same "$asked" backup_says lastRestoreTest
}

replicas_of() { k get "deployment/$1" -o 'jsonpath={.spec.replicas} {.status.readyReplicas} {.metadata.annotations.pgreeve\.dev/restore-state}'; }

databases_beside() { sql "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'chat\_\_%' AND datname <> '$(restore_says previousDatabase)'"; }

closed_for_less_than() { is_less "$(restore_says fencedMillis)" "$1"; }

check_backups() {
    check "one backup has come, by the schedule" came_on_time
    check "the schedule is the nightly one again" same "0 2 * * *" schedule_says .spec.schedule
    check "it knows when it will try a restore" grep -q "T05:00:00Z" <(schedule_says .status.nextRestoreTest)
    check "a restore test that was asked for has its answer" restore_test_is_answered
    check "what the schedule and its restore test assert has held" same 2 backup_says verification.assertions
    check "a backup is complete" k wait backups --all --for=condition=Complete --timeout=5s
    check "a restore of it has matched every row" same 2140000 backup_says verification.rowsMatched
    check "the manifest counts the same rows" same 2140000 backup_manifest_says '[.tables[].rows] | add'
    check "the object is what the manifest of the backup says" backup_is_the_manifests
    check "the restore is complete" k wait restore/chat-back --for=condition=Complete --timeout=5s
    check "the restored database matched the manifest" same 2140000 restore_says verification.rowsMatched
    check "api-gateway has its two replicas again and no trace of the restore" same "2 2 " replicas_of api-gateway
    check "ml-service has its three replicas again and no trace of the restore" same "3 3 " replicas_of ml-service
    # Two processors start Pods meanwhile; what an idle machine shows is measured by a benchmark.
    check "the database was closed for less than 5 s" closed_for_less_than 5000
    check "nothing but the replaced database is kept beside it" same "" databases_beside
    check "no Job of a backup or a restore is left" same "" k get jobs -o name
}

exports_in_status() { k get retentionpolicy/chat-history -o json | jq '.status.exports | length'; }
files_in_bucket() { bucket find archive -type f -size +0 | wc -l; }

# --- what Kubernetes says --------------------------------------------------------------------------------------------------

kstatus_of() { k get "$1" -o json | kstatus | cut -f1; }

written() { k get pgreeve -o 'jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}'; }

# The wait is longer than a pass and shorter than the next one that the clock asks for.
stays_quiet() {
    local before
    before=$(written)
    sleep 20
    same "$before" written
}

horizon_is() {
    metrics | awk -v table="$1" -v least="$2" '
        /^pgreeve_partition_horizon_seconds/ && index($0, table) { seen = 1; if ($NF < least) exit 1 } END { exit !seen }'
}

restarts() { kubectl -n pgreeve-demo get pods -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}'; }

# secret_is_nowhere SECRET KEY
secret_is_nowhere() {
    local password
    password=$(k get secret "$1" -o "jsonpath={.data.$2}" | base64 -d)
    { kubectl -n pgreeve-demo logs "$(operator_pod)"; k get pgreeve -o yaml; k get events -o yaml; metrics; } >"$out/everything"
    [[ ${#password} -ge 16 && -s $out/everything ]] && ! grep -qF "$password" "$out/everything"
}

may_not_list_secrets() {
    same no kubectl auth can-i list secrets -n demo --as=system:serviceaccount:pgreeve-demo:pgreeve-demo
}

check_cluster() {
    local object
    for object in postgresdatabase/chat partitionpolicy/{chat-history,cost-tracking} retentionpolicy/chat-history retentionhold/audit backupschedule/chat-nightly backup/"$(backup)" restore/chat-back; do
        check "kstatus calls $object Current" same Current kstatus_of "$object"
        check "kubectl wait finds $object Ready" k wait "$object" --for=condition=Ready --timeout=10s
    done
    check "the metric says that chat_history is covered for 60 days" horizon_is chat_history $((60 * 86400))
    check "an event tells that partitions were made" grep -q 'partitionpolicy' <(k get events -o 'jsonpath={range .items[*]}{.involvedObject.kind}{"\n"}{end}' | tr '[:upper:]' '[:lower:]')
    check "a settled operator writes nothing" stays_quiet
    check "the operator was never restarted" same 0 restarts
    check "the password is in no log, event, status or metric" secret_is_nowhere chat-app password
    check "the operator may not list Secrets" may_not_list_secrets
}

# --- volumes -------------------------------------------------------------------------------------------------------------------

# prepare_volume NAME: a volume on the node that a Pod without any privilege can write to, and its claim.
prepare_volume() {
    local node
    node=$(kubectl get nodes -o 'jsonpath={.items[0].metadata.name}')
    mkdir -p "$PGREEVE_DEMO_DIR/$1"
    kubectl apply -f - <<VOLUME
apiVersion: v1
kind: PersistentVolume
metadata: {name: "$1"}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: by-hand
  local: {path: "$PGREEVE_DEMO_DIR/$1"}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: ["$node"]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: "$1", namespace: demo}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  volumeName: "$1"
  resources: {requests: {storage: 1Gi}}
VOLUME
}

# --- another major -------------------------------------------------------------------------------------------------------------

fifteen_sql() { k exec -i deployment/fifteen -- psql -qXAt -U postgres "$1" -c "$2"; }

fifteen_runs() {
    "$top/hack/images.sh" postgres 15 && k apply -f "$top/tests/cluster/fifteen.yaml" && k rollout status deployment/fifteen --timeout=120s &&
        fifteen_sql postgres "CREATE ROLE shop LOGIN CREATEDB PASSWORD 'of-fifteen-alone'" && fifteen_sql postgres "CREATE DATABASE shop OWNER shop" &&
        fifteen_sql shop "SET ROLE shop; CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 4321) AS n"
}

fifteen_goes_back() {
    fifteen_sql shop "DROP TABLE orders"
    k apply -f - <<RESTORE
apiVersion: pgreeve.dev/v1alpha1
kind: Restore
metadata: {name: fifteen-back}
spec: {databaseRef: {name: fifteen}, source: {backupRef: {name: fifteen-volume}}, strategy: Swap, confirm: shop}
RESTORE
    k wait restore/fifteen-back --for=condition=Complete --timeout=120s || { k describe restore fifteen-back; return 1; }
}

fifteen_is_proven() {
    k apply -f "$top/tests/cluster/fifteen-backup.yaml"
    k wait backup/fifteen --for=jsonpath='{.status.verification.level}'=Restore --timeout=180s || { k describe backup fifteen; return 1; }
}

fifteen_is_proven_on_a_volume() {
    k apply -f "$top/tests/cluster/fifteen-volume.yaml"
    k wait backup/fifteen-volume --for=jsonpath='{.status.verification.level}'=Restore --timeout=180s ||
        { k describe backup fifteen-volume; return 1; }
    same 4321 k get backup fifteen-volume -o 'jsonpath={.status.verification.rowsMatched}'
}

on_volume() { find "$PGREEVE_DEMO_DIR/backups" -type f | wc -l; }

# The Backup is gone when what it speaks of is.
fifteen_leaves_the_volume() {
    k delete backup fifteen-volume --timeout=120s || { k describe backup fifteen-volume; return 1; }
    same 0 on_volume && same "" k get jobs -o name
}

check_fifteen() {
    check "a PostgreSQL 15 runs beside the demo's 17" fifteen_runs
    check "its backup is restored by the programs of its own major" fifteen_is_proven
    check "the backup says which major that was" grep -q '^15\.' <(k get backup fifteen -o 'jsonpath={.status.dumpVersion}')
    check "a volume is made for its backups" prepare_volume backups
    check "a backup on the volume is proven by a restore" fifteen_is_proven_on_a_volume
    check "dump, globals, manifest and its proof lie on it" same 4 on_volume
    check "a table of it that was dropped comes back from there by a Swap" fifteen_goes_back
    check "with every row" same 4321 fifteen_sql shop "SELECT count(*) FROM orders"
    check "a deleted Backup takes its objects along, by a Job" fifteen_leaves_the_volume
}

# --- Jobs ----------------------------------------------------------------------------------------------------------------------

# A table of which a thousand rows are old, and an archive for them; a table with an old partition.
prepare_tables() {
    sql "SET ROLE chat_owner; DROP TABLE IF EXISTS sessions, sessions_archive, visits;
         CREATE TABLE sessions (id bigint PRIMARY KEY, at timestamptz NOT NULL, text text);
         CREATE INDEX ON sessions (at);
         CREATE TABLE sessions_archive (LIKE sessions, archived_at timestamptz NOT NULL DEFAULT now());
         INSERT INTO sessions SELECT n, timestamptz '2025-06-01 00:00:00+00' + n * interval '1 s', 'old ' || n FROM generate_series(1, 1000) AS n;
         INSERT INTO sessions SELECT n, timestamptz '2026-06-01 00:00:00+00' + n * interval '1 s', 'new ' || n FROM generate_series(1001, 1100) AS n;
         CREATE TABLE visits (at timestamptz NOT NULL, text text) PARTITION BY RANGE (at);
         CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2026-01-01 00:00:00+00');
         INSERT INTO visits SELECT timestamptz '2025-06-01 00:00:00+00' + n * interval '1 s', 'row ' || n FROM generate_series(1, 1000) AS n"
}

oid() { sql "SELECT '$1'::regclass::oid"; }

jobs_run() {
    (
        cd "$top" || exit
        export PGREEVE_TABLE PGREEVE_PARENT PGREEVE_PARTITION PGREEVE_ROLE=chat_owner
        PGREEVE_TABLE=$(oid sessions) PGREEVE_PARENT=$(oid visits) PGREEVE_PARTITION=$(oid visits_2025)
        cargo test --quiet --locked --test cluster -- --ignored --test-threads 1
    )
}

partition_is_closed() { ! sql "INSERT INTO visits VALUES ('2025-07-01', 'too late')" && same 1000 rows visits; }

# The magic number at both ends of a Parquet file.
object_is_parquet() {
    local object
    object=$(find "$PGREEVE_DEMO_DIR/exports/demo" -type f -name '*.parquet' | head -n 1)
    [[ -n $object ]] && same PAR1 head -c 4 "$object" && same PAR1 tail -c 4 "$object"
}

may_not() { same no kubectl auth can-i "$@" -n demo --as=system:serviceaccount:pgreeve-demo:pgreeve-demo; }

# It would remove Jobs that no object's plan wants, as these are.
operator_rests() {
    kubectl -n pgreeve-demo scale deployment --all --replicas=0 >/dev/null &&
        kubectl -n pgreeve-demo wait pods --all --for=delete --timeout=60s >/dev/null
}

check_jobs() {
    check "the operator rests while the test makes Jobs" operator_rests
    check "tables with old rows are made for Jobs" prepare_tables
    check "a volume is made for a Job" prepare_volume exports
    check "Jobs archive and export them, and their reports come back through their Pods" jobs_run
    check "the archive has every old row once" same 1000 sql "SELECT count(DISTINCT id) FROM sessions_archive WHERE at < '2026-01-01'"
    check "the table has every new row" same 100 rows sessions
    check "the volume has a Parquet file" object_is_parquet
    check "the exported partition is readable and takes no more rows" partition_is_closed
    check "the operator may not change a Job" may_not patch jobs
    check "the operator may not make a Pod" may_not create pods
    check "the operator may not read logs" may_not get pods/log
}

# --- the end ---------------------------------------------------------------------------------------------------------------

nothing_is_left() {
    [[ ! -e $PGREEVE_DEMO_DIR ]] && ! pgrep -f "$PGREEVE_DEMO_DIR" && ! grep -F "$PGREEVE_DEMO_DIR" /proc/mounts
}

check_removal() {
    check "make demo-down ends" "$top/hack/demo.sh" down
    check "it leaves nothing behind" nothing_is_left
}

if [[ -z ${PGREEVE_BINARY:-} ]]; then
    (cd "$top" && cargo build --quiet --locked --bin pgreeve) || exit 1
    export PGREEVE_BINARY=$top/${CARGO_TARGET_DIR:-target}/debug/pgreeve
fi
# The demo's schedules come at these times (UTC), and its months change at midnight: what is checked while one of them comes is about to change.
calm() {
    local at left
    for at in 00:00 02:00 03:30 05:00; do
        left=$((($(date -ud "$at" +%s) - $(date +%s) + 86400) % 86400))
        if [[ $left -lt 900 ]]; then
            echo "waits $((left / 60 + 1)) minutes, until $at UTC is over"
            sleep $((left + 60))
        fi
    done
}

calm
check_demo
check_database
check_export
check_backups
check_cluster
check_fifteen
check_jobs
[[ ${1:-} == --keep ]] || check_removal
rm -rf "$out"
printf '%s passed, %s failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
