# shellcheck shell=bash disable=SC2154
# The part of the demo about backups: one is made on time and proven, the disaster comes, and a Restore undoes it. Sourced by hack/demo.sh.

schedule=backupschedule/chat-nightly
restore=restore/chat-back

# --- a backup that comes by the schedule and is proven -------------------------------------------------------------------------

# The next full minute, or the one after it: a schedule makes nothing up from before it was there.
coming_minute() { echo $((($(date +%s) + 10) / 60 * 60 + 60)); }

tell_what_is_backed_up() {
    step "A backup counts when a restore of it has worked. One is made every night; the demo's first night begins with the next minute"
    local moment backup
    moment=$(coming_minute)
    backup=backup/chat-nightly-$(date -ud "@$moment" +%Y%m%d-%H%M)
    schedule_at "$(date -ud "@$moment" '+%-M %-H * * *')"
    printf 'It is %s UTC. The backup of %s is waited for.\n' "$(date -u +%T)" "$(date -ud "@$moment" +%R)"
    k wait "$backup" --for=create --timeout=180s >/dev/null
    printf 'It is %s UTC.\n' "$(date -u +%T)"
    show get "$backup"
    echo "From now on every night, as the file is:"
    show apply -f hack/demo/backup-schedule.yaml
    k wait "$schedule" --for='jsonpath={.status.lastRestored.name}' --timeout=300s >/dev/null
    show wait "$schedule" --for=condition=Ready --timeout=60s
    show get pbs,pbk
    show get "$backup" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type}{": "}{.message}{"\n"}{end}{.status.url}{"\n"}'
    tell_the_restore_test "$backup"
}

# schedule_at CRON: the schedule as its file is, but for the time.
schedule_at() {
    local change='{"spec": {"schedule": "'$1'"}}'
    printf "\$ kubectl patch --local -f hack/demo/backup-schedule.yaml --type merge -p '%s' -o json | kubectl -n demo apply -f -\n" "$change"
    k patch --local -f hack/demo/backup-schedule.yaml --type merge -p "$change" -o json | k apply -f -
}

tell_the_restore_test() {
    step "Does it still restore? The schedule tries that every Sunday; anybody may ask for it"
    local asked
    show get "$schedule" -o 'jsonpath=the next restore test: {.status.nextRestoreTest}{"\n"}'
    asked=$(date -u +%FT%T.%NZ)
    show annotate "$1" "pgreeve.dev/restoreTest=$asked" --overwrite
    k wait "$1" --for="jsonpath={.status.lastRestoreTest}=$asked" --timeout=120s >/dev/null
    k wait "$1" --for=condition=Ready --timeout=60s >/dev/null
    show get "$1" -o 'jsonpath={.status.verification}{"\n"}'
}

# --- the disaster --------------------------------------------------------------------------------------------------------------

# They start while the backup's moment is waited for.
start_services() { sed "s|image: postgres:17|image: $(postgres_image)|" "$here/demo/workloads.yaml" | k apply -f - >/dev/null; }

services() { k get deployments -l uses=chat -o custom-columns=SERVICE:.metadata.name,WANTED:.spec.replicas,READY:.status.readyReplicas; }

services_are_back() {
    k wait deployment/api-gateway --for='jsonpath={.status.readyReplicas}=2' --timeout=60s >/dev/null
    k wait deployment/ml-service --for='jsonpath={.status.readyReplicas}=3' --timeout=60s >/dev/null
}

tell_the_disaster() {
    step "The disaster: somebody drops a table, two services use the database"
    services_are_back
    services
    k wait pod/client --for=condition=Ready --timeout=60s >/dev/null
    start_client
    echo "DROP TABLE chat_history"
    sql chat <<<"SET ROLE chat_owner; DROP TABLE chat_history"
}

tell_what_a_restore_would_do() {
    step "What would a Restore do? Without a word in confirm it is a plan"
    show apply -f hack/demo/restore.yaml
    k wait "$restore" --for='jsonpath={.status.step}=AwaitingConfirmation' --timeout=120s >/dev/null
    show get "$restore" -o 'jsonpath={.status.plan.summary}{"\n"}{range .status.plan.actions[*]}{"  "}{@}{"\n"}{end}'
}

# --- who looks on --------------------------------------------------------------------------------------------------------------

watches=() seen="" measured="" client=""

# A client that nobody scales measures from before the disaster; the demo goes on when it has had its first answers.
start_client() {
    measured=$(mktemp) seen=$(mktemp)
    trap look_away EXIT
    k exec -i pod/client -- bash <"$here/demo/downtime.sh" >"$measured" &
    client=$!
    local patience=$((SECONDS + 30))
    until grep -q . "$measured"; do
        ((SECONDS < patience)) || fail "the client has had no answer"
        sleep 0.1
    done
}

# watch WORD ARGUMENT...: takes down each change of what kubectl shows, with its time.
watch() {
    local word=$1
    shift
    # Not through k, of which the process to end would be a shell.
    kubectl ${context:+--context "$context"} -n demo get "$@" --watch --no-headers > >(stamp "$word" >>"$seen") 2>/dev/null &
    watches+=($!)
}

stamp() {
    local line
    while IFS= read -r line; do
        echo "$(millis) $1 $line"
    done
}

millis() { echo $(($(date +%s%N) / 1000000)); }

# However the demo ends.
look_away() {
    k exec pod/client -- touch /tmp/enough 2>/dev/null || true
    wait "$client" || true
    [[ ${#watches[@]} -eq 0 ]] || kill "${watches[@]}" 2>/dev/null || true
    wait "${watches[@]}" || true
    watches=()
    trap - EXIT
}

# --- the restore ---------------------------------------------------------------------------------------------------------------

tell_the_restore() {
    step "Confirmed: restored and compared beside the database, then the services go to nothing, the databases change names, and all comes back"
    local began
    watch step "$restore" -o 'custom-columns=STEP:.status.step'
    watch "" deployments -l uses=chat -o custom-columns=SERVICE:.metadata.name,WANTED:.spec.replicas,READY:.status.readyReplicas
    began=$(millis)
    show patch "$restore" --type merge -p '{"spec": {"confirm": "chat"}}'
    show wait "$restore" --for=condition=Complete --timeout=300s
    services_are_back
    look_away
    tell_the_course "$began"
    services
    show get prs
    sql -At chat <<<"SELECT format('%s rows in chat_history, %s in cost_tracking', (SELECT count(*) FROM chat_history), (SELECT count(*) FROM cost_tracking))"
    show get "$restore" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type}{": "}{.message}{"\n"}{end}'
}

# tell_the_course BEGAN: what the services went through and what the client measured.
tell_the_course() {
    printf '\nThe services meanwhile, Pods that are ready of those that are wanted:\n'
    sort -n -s "$seen" | awk -v began="$1" -f "$here/demo/course.awk"
    printf '\nA client meanwhile, that nobody scales:\n'
    tail -n +2 "$measured"
    show get "$restore" -o 'jsonpath=the database was closed for {.status.fencedMillis} ms{"\n"}'
    rm -f "$seen" "$measured"
    echo
}
