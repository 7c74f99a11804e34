#!/usr/bin/env bash
# How does pgreeve compare with its peers and with what the machine can do? Everything in docs/benchmarks.md, in one run.
#
#   hack/bench.sh [NAME...]    settled, create, archive, rows, export, backup, restore, notice, operator; all of them without a name
#
# Needs what the integration tests need, PostgreSQL 15's own programs, and pg_partman as Debian 12 has it. Takes about fifty minutes on two
# idle cores. PGREEVE_BENCH_ROUNDS, _ROWS, _MEGABYTES, _TABLES, _POLICIES, _MANY_POLICIES and _EDITS make trial runs shorter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hack/tools.sh rust postgres15 pgpartman apiserver versitygw adbc restic aws zstd
# Those that were installed for it, and not what else is called so on this machine.
PATH=${PGREEVE_CACHE:-/var/cache/pgreeve}/bin:$PATH:$HOME/.cargo/bin
command -v psql >/dev/null || { echo "bench: no psql: apt-get install postgresql-client" >&2; exit 1; }
# Data directories in memory: a journalling file system shuns the inodes of files that were deleted within the last minutes, and looking
# for others was measured to take half of the time of every DDL statement, whoever came next.
[[ ! -d /dev/shm ]] || export TMPDIR=/dev/shm
# As in the image.
export MALLOC_ARENA_MAX=1
[[ $# -gt 0 ]] || set -- settled create archive rows export backup restore notice operator

cargo build --locked --release --bin pgreeve --benches
for name in "$@"; do
    printf '\n## %s\n\n' "$name"
    cargo bench --quiet --locked --bench "$name"
done
