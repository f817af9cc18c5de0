#!/usr/bin/env bash
# Runs the image on this machine as a pod of EMR would run it: read-only, without rights, without a network.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python="$(find_python)"
exec "$python" -B "$(dirname "${BASH_SOURCE[0]}")/run_docker.py" "$@"
