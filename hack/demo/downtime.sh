#!/usr/bin/env bash
# For how long does a client that logs in again and again find no database? Asks as the application's role until the file /tmp/enough is
# there, and prints what became of its tries.
rm -f /tmp/enough
millis() { echo $(($(date +%s%N) / 1000000)); }
tries=0 refused=0 longest=0 last=$(millis)
until [[ -e /tmp/enough ]]; do
    tries=$((tries + 1))
    if psql -qAtX -U chat_owner -d chat -c 'SELECT 1' >/dev/null 2>&1; then
        now=$(millis)
        ((now - last <= longest)) || longest=$((now - last))
        last=$now
    else
        refused=$((refused + 1))
    fi
done
rm -f /tmp/enough
echo "$tries log-ins, $refused refused; the longest time between two answers: $longest ms"
