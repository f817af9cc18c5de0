#!/usr/bin/env bash
# Starts a run on EMR on EKS and follows it: see --help.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
make_venv .venv requirements-local.lock
exec .venv/bin/python -m scripts.submit "$@"
