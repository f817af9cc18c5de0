#!/usr/bin/env bash
# Resolves pyproject.toml into the lock files: versions and hashes, without index addresses.
set -euo pipefail

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  echo "Usage: scripts/lock.sh [--upgrade]   (needs uv: pip install uv)"
  exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() { # compile LOCK [uv options]: resolves the requirements that the options name into LOCK
  local lock="$1"
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links "$@" --output-file "$lock"
}

# The image's lock comes first and constrains the others, so that every environment computes the same numbers.
compile requirements.lock pyproject.toml "$@"
compile requirements-local.lock pyproject.toml --group local --constraint requirements.lock
compile requirements-dev.lock pyproject.toml --group local --group dev --constraint requirements-local.lock
compile tests/requirements-spark41.lock pyproject.toml --group local-spark41 --group dev --constraint requirements.lock
compile requirements-sbom.lock --group sbom
