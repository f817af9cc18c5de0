#!/usr/bin/env bash
# Pushes the image of this revision to ECR, inside the EU, and prints its name by digest.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
make_venv .venv requirements-local.lock
exec .venv/bin/python -m scripts.image.push "$@"
