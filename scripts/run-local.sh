#!/usr/bin/env bash
# Runs the job on this machine. Sets everything up on first use, and draws fruit if no input is given.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
user_folder="$PWD"

usage() {
  cat <<'HELP'
Usage: ./scripts/run-local.sh [job options]

Without --input, 480 photos of 16 kinds of fruit are drawn into build/drawn-fruit and used.
Without --output, the tables go to build/output.

The job's own options:

HELP
}

has_option() { # has_option NAME ARGUMENTS...
  local name="$1" word
  shift
  for word in "$@"; do
    if [[ "$word" == "$name" || "$word" == "$name="* ]]; then return 0; fi
  done
  return 1
}

cd "$root"
make_venv .venv requirements-local.lock
if has_option --help "$@" || has_option -h "$@"; then
  usage
  exec .venv/bin/python -m job --help
fi
find_java .venv
own_spark

extra=()
if ! has_option --input "$@" && [[ -z "${FRUITS_INPUT:-}" ]]; then
  .venv/bin/python -m scripts.fruit.draw build/drawn-fruit
  extra+=(--input "$root/build/drawn-fruit")
fi
if ! has_option --output "$@" && [[ -z "${FRUITS_OUTPUT:-}" ]]; then
  extra+=(--output "$root/build/output")
fi
# The user's paths are relative to the user's folder.
cd "$user_folder"
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$root/.venv/bin/python" -m job ${extra[@]+"${extra[@]}"} "$@"
