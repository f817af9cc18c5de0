#!/usr/bin/env bash
# Runs the image as a pod of EMR would run it: read-only, without rights, and with a network only for s3://.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ "$* ${FRUITS_INPUT:-} ${FRUITS_OUTPUT:-}" =~ [sS]3[aA]?:/|--profile ]]; then
  # What an AWS profile means, boto3 knows.
  (cd "$root" && make_venv .venv requirements-local.lock)
  python="$root/.venv/bin/python"
else
  python="$(find_python)"
fi
# -P: the paths that the user gives are relative to where the user is, and nothing is imported from there.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -B -P -m scripts.image.run "$@"
