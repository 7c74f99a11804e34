#!/usr/bin/env bash
# For how long does an application find no database while it is restored? This one logs in again and again, in a Pod that no Restore
# scales: through the Service, over verified TLS, as the application's role. It asks for the newest row of the table that will be lost and
# of one that will not. The first answer is the right one, so that an empty or an older database counts as none. Ends when the file
# /tmp/enough is there, and prints what it saw.
set -u

app="host=postgres.demo.svc dbname=chat user=chat_owner sslmode=verify-full sslrootcert=/ca/ca.crt connect_timeout=2"
declare -A right=() last=() longest=() refusals=()
tries=0 refused=0

millis() { echo $(($(date +%s%N) / 1000000)); }
seconds() { printf '%d.%03d s' $(($1 / 1000)) $(($1 % 1000)); }

ask() {
    PGPASSWORD=$(</app/password) psql -qAtX "$app" \
        -c "SELECT 'cost', id, cost_usd FROM cost_tracking ORDER BY created_at DESC LIMIT 1" \
        -c "SELECT 'chat', id, content FROM chat_history ORDER BY created_at DESC LIMIT 1" </dev/null 2>/tmp/error
}

# passes TABLE: the time since its last right answer, when that is the longest so far.
passes() {
    local time=$(($(millis) - last[$1]))
    ((time <= ${longest[$1]:-0})) || longest[$1]=$time
}

# hear ANSWERS: takes down when each table gave the right one.
hear() {
    local table answer
    while IFS='|' read -r table answer; do
        [[ -n $table ]] || continue
        if [[ -z ${right[$table]:-} ]]; then
            right[$table]=$answer last[$table]=$(millis)
        fi
        [[ $answer == "${right[$table]}" ]] || continue
        passes "$table"
        last[$table]=$(millis)
    done <<<"$1"
}

# fail CODE: what psql said, where it found no connection or lost it.
fail() {
    local said
    [[ $1 -eq 2 ]] || return
    refused=$((refused + 1))
    said=$(sed -n 's/.*FATAL: *//p' /tmp/error | head -n 1)
    said=${said:-$(tail -n 1 /tmp/error)}
    said=${said:-nothing}
    refusals[$said]=$((${refusals[$said]:-0} + 1))
}

# The pause leaves the processors to those that restore. Nobody waits for it for longer than ten minutes.
until [[ -e /tmp/enough ]] || ((SECONDS > 600)); do
    tries=$((tries + 1))
    answers=$(ask) || fail $?
    had=${#right[@]}
    hear "$answers"
    [[ $had -eq 2 || ${#right[@]} -ne 2 ]] || echo "both tables have answered"
    sleep 0.05
done
# One that is silent to the end is not forgotten.
passes cost
passes chat
echo "$tries log-ins through the Service and over TLS, $refused refused"
for said in "${!refusals[@]}"; do
    echo "    ${refusals[$said]} with: $said"
done
echo "the downtime that the client measured: $(seconds "${longest[cost]}") from the last right answer before to the first one after"
echo "of the dropped table it had no right answer for $(seconds "${longest[chat]}")"
