#!/usr/bin/env bash
# Creates, checks, shows and removes a stage of Fruits! on AWS: see --help.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
make_venv .venv requirements-local.lock
exec .venv/bin/python -m scripts.cluster "$@"
