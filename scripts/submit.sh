#!/usr/bin/env bash
# Starts a run on EMR on EKS, follows it and fetches its report: see --help.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
(cd "$root" && make_venv .venv requirements-local.lock)
# The user's paths are relative to the current folder; with -P, Python imports nothing from there.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$root/.venv/bin/python" -P -m scripts.submit "$@"
