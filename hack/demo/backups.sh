# shellcheck shell=bash disable=SC2154
# The part of the demo about backups: one is made and proven, the disaster comes, and a Restore undoes it. Sourced by hack/demo.sh.

schedule=backupschedule/chat-nightly
restore=restore/chat-back

tell_what_is_backed_up() {
    step "A backup counts when a restore of it has worked: a schedule, and one backup now"
    show apply -f hack/demo/backup-schedule.yaml
    show annotate "$schedule" "pgreeve.dev/requestedAt=$(date -u +%FT%T.%NZ)" --overwrite # or wait for two at night
    k wait "$schedule" --for='jsonpath={.status.lastRestored.name}' --timeout=180s >/dev/null
    show wait "$schedule" --for=condition=Ready --timeout=60s
    show get pbs,pbk
    local backup
    backup=backup/$(k get "$schedule" -o 'jsonpath={.status.lastRestored.name}')
    show get "$backup" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type}{": "}{.message}{"\n"}{end}'
    show get "$backup" -o 'jsonpath={.status.verification}{"\n"}{.status.url}{"\n"}'
}

services() { k get deployments api-gateway ml-service -o custom-columns=SERVICE:.metadata.name,WANTED:.spec.replicas,READY:.status.readyReplicas; }

services_are_back() {
    k wait deployment/api-gateway --for='jsonpath={.status.readyReplicas}=2' --timeout=60s >/dev/null
    k wait deployment/ml-service --for='jsonpath={.status.readyReplicas}=3' --timeout=60s >/dev/null
}

tell_the_disaster() {
    step "The disaster: somebody drops a table, two services use the database"
    sed "s|image: postgres:17|image: $(postgres_image)|" "$here/demo/workloads.yaml" | k apply -f - >/dev/null
    services_are_back
    services
    echo "DROP TABLE chat_history"
    sql chat <<<"SET ROLE chat_owner; DROP TABLE chat_history"
}

tell_what_a_restore_would_do() {
    step "What would a Restore do? Without a word in confirm it is a plan"
    show apply -f hack/demo/restore.yaml
    k wait "$restore" --for='jsonpath={.status.step}=AwaitingConfirmation' --timeout=120s >/dev/null
    show get "$restore" -o 'jsonpath={.status.plan.summary}{"\n"}{range .status.plan.actions[*]}{"  "}{@}{"\n"}{end}'
}

tell_the_restore() {
    step "Confirmed: restored and compared beside the database, then the services go to nothing, the databases change names, and all comes back"
    local steps watch client
    steps=$(mktemp) client=$(mktemp)
    kubectl ${context:+--context "$context"} -n demo get "$restore" --watch -o 'custom-columns=STEP:.status.step' --no-headers >"$steps" 2>/dev/null &
    watch=$!
    k exec -i deployment/postgres -- bash <"$here/demo/downtime.sh" >"$client" &
    trap 'kill "'"$watch"'" 2>/dev/null || true' EXIT
    show patch "$restore" --type merge -p '{"spec": {"confirm": "chat"}}'
    show wait "$restore" --for=condition=Complete --timeout=180s
    services_are_back
    k exec deployment/postgres -- touch /tmp/enough
    kill "$watch"
    wait || true
    trap - EXIT
    printf 'steps: %s\n' "$(uniq "$steps" | paste -sd ' ')"
    printf 'a client that logged in again and again: %s\n' "$(cat "$client")"
    show get "$restore" -o 'jsonpath=the database was closed for {.status.fencedMillis} ms{"\n"}'
    rm -f "$steps" "$client"
    services
    show get prs
    sql -At chat <<<"SELECT format('%s rows in chat_history, %s in cost_tracking', (SELECT count(*) FROM chat_history), (SELECT count(*) FROM cost_tracking))"
    show get "$restore" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type}{": "}{.message}{"\n"}{end}'
}
