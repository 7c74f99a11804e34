#!/usr/bin/env bash
# Does the Helm chart do what its values say? Every test of it, of its alerts and of its runbook; a real API server and a real PostgreSQL judge.
#
#   tests/chart/run.sh             all of them
#   tests/chart/run.sh --update    rewrites snapshots/ first; read the difference before you commit it
#   tests/chart/run.sh NAME...     some of them, such as test_alerts
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PGREEVE_CACHE:-/var/cache/pgreeve}

"$root/hack/tools.sh" helm promtool apiserver postgres17
export PATH="$cache/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"

# The interpreter that knows YAML: whatever is first on PATH, else Debian's own with its package.
python=python3
if ! "$python" -c 'import yaml' 2>/dev/null; then
    python=/usr/bin/python3
    "$python" -c 'import yaml' 2>/dev/null || apt-get -qq install -y --no-install-recommends python3-yaml >&2
fi

# The language of Argo CD's health checks.
command -v lua5.1 >/dev/null || apt-get -qq install -y --no-install-recommends lua5.1 >&2

if [[ ${1:-} == --update ]]; then
    shift
    export PGREEVE_UPDATE_SNAPSHOTS=1
fi
if [[ $# -gt 0 ]]; then
    exec "$python" -m unittest "$@"
fi
cd "$here"
exec "$python" -m unittest discover --start-directory "$here"
