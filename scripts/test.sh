#!/usr/bin/env bash
# Runs the tests. Sets everything up on first use, as run-local.sh does.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
Usage: ./scripts/test.sh [--spark 3.5|4.1] [pytest options]

  --spark 4.1   test on PySpark 4.1.1 instead of 3.5.6 (its own environment, .venv-spark41)

Useful pytest options: -m spark (only what needs Spark), -k WORDS, -x (stop at the first failure).
HELP
  exit 0
fi

spark=3.5
if [[ "${1:-}" == "--spark" ]]; then
  spark="${2:-}"
  shift $(($# > 1 ? 2 : 1))
fi
case "$spark" in
  3.5)
    venv=.venv
    make_venv "$venv" requirements-local.lock requirements-dev.lock
    ;;
  4.1)
    venv=.venv-spark41
    make_venv "$venv" tests/requirements-spark41.lock
    ;;
  *)
    echo "error: --spark is 3.5 or 4.1, not '$spark'" >&2
    exit 2
    ;;
esac
find_java "$venv"
own_spark
exec "$venv/bin/python" -m pytest "$@"
