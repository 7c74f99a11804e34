#!/usr/bin/env bash
# Where do test servers keep their data? In memory where there is room, since thousands of databases come and go: on a disk a third of the
# tests' processor time is the file system's.
#
#   hack/in-memory.sh COMMAND...    runs it with TMPDIR in memory, and leaves nothing there
set -euo pipefail

memory=/dev/shm
needed=4194304 # KiB

# The S3 server keeps what it knows of an object in extended attributes, which memory has since Linux 6.6.
knows_attributes() { printf '6.6\n%s\n' "$(uname -r)" | sort -VC; }

if [[ -w $memory && $(df --output=avail "$memory" | tail -n 1) -ge $needed ]] && knows_attributes; then
    TMPDIR=$(mktemp -d "$memory/pgreeve-tests.XXXXXX")
    chmod 1777 "$TMPDIR" # servers run as another user
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi
"$@"
