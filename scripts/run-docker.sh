#!/usr/bin/env bash
# Runs the image like a pod of EMR: read-only, without rights, and with a network only for s3://.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ "$* ${FRUITS_INPUT:-} ${FRUITS_OUTPUT:-}" =~ [sS]3[aA]?:/|--profile ]]; then
  # boto3 reads the AWS profile.
  (cd "$root" && make_venv .venv requirements-local.lock)
  python="$root/.venv/bin/python"
else
  python="$(find_python)"
fi
# The user's paths are relative to the current folder; with -P, Python imports nothing from there.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -B -P -m scripts.image.run "$@"
