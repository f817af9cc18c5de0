#!/usr/bin/env bash
# Runs the image on a real Kubernetes as EMR on EKS does, on this machine or on your cluster: see --help.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
(cd "$root" && make_venv .venv requirements-local.lock)
# The user's paths are relative to the current folder; with -P, Python imports nothing from there.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$root/.venv/bin/python" -P -m scripts.kubernetes "$@"
