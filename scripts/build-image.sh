#!/usr/bin/env bash
# Builds the image from this checkout, checks it, and prints its size and its base.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

emr="$(sed -n 's/^EMR_RELEASE=//p' docker/release.env)"
base="public.ecr.aws/emr-on-eks/spark/emr-$emr:latest"
name=fruits
platform=
check=yes
release=no

usage() {
  cat <<HELP
Usage: ./scripts/build-image.sh [options] [-- options of docker build]

  --base IMAGE      base image, by tag or digest (default $base;
                    inside AWS: 483788554619.dkr.ecr.eu-west-1.amazonaws.com/spark/emr-$emr:latest)
  --name NAME       name of the image (default $name); its tag is the git revision, with -dirty if files differ
  --platform NAME   linux/amd64 or linux/arm64 (default this machine's)
  --release         for the cluster: builds linux/amd64, and refuses a dirty tree and a base that no registry
                    knows by digest
  --no-check        do not run docker/check.py, which takes about a minute

Beside the image it writes build/image/sbom.cdx.json (CycloneDX) and build/image/licences.txt.
pip's own settings count for the build, too: PIP_CONFIG_FILE, and PIP_CERT where a proxy has its own certificates.
HELP
}

while (($#)); do
  case "$1" in
    --base | --name | --platform)
      if (($# < 2)); then
        echo "error: $1 needs a value; --help lists the options" >&2
        exit 2
      fi
      declare "${1#--}=$2"
      shift
      ;;
    --release) release=yes ;;
    --no-check) check=no ;;
    --help | -h)
      usage
      exit
      ;;
    --)
      shift
      break
      ;;
    *)
      echo "error: unknown option '$1'; --help lists the options" >&2
      exit 2
      ;;
  esac
  shift
done
if [[ -n "$platform" && "$platform" != linux/amd64 && "$platform" != linux/arm64 ]]; then
  echo "error: --platform is linux/amd64 or linux/arm64, not '$platform'" >&2
  exit 2
fi

if [[ "$release" == yes ]]; then
  if [[ -n "$platform" && "$platform" != linux/amd64 ]]; then
    echo "error: --release builds linux/amd64, as the cluster's nodes are: leave out --platform $platform" >&2
    exit 2
  fi
  platform=linux/amd64
fi

megabytes() { # megabytes IMAGE
  echo $(($(docker image inspect --format '{{.Size}}' "$1") / 1000000))
}

command -v docker >/dev/null || die "docker was not found: install Docker Engine or Docker Desktop"
docker version >/dev/null 2>&1 || die "no Docker engine answers: start it, or see 'docker context ls'"
revision="$(git rev-parse HEAD 2>/dev/null)" || die "this is no git checkout, so the image would have no revision"
tag="${revision:0:12}"
created="$(TZ=UTC git log -1 --date='format-local:%Y-%m-%dT%H:%M:%SZ' --format=%cd)"
if [[ -n "$(git status --porcelain)" ]]; then
  [[ "$release" == no ]] || die "--release: files differ from revision $tag: commit or stash them"
  tag="$tag-dirty"
  revision="$revision-dirty"
  created="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
fi

# A tag can move, so the base is pulled first and then named by its digest.
platform_option=(${platform:+--platform "$platform"})
if ! error="$(docker pull --quiet ${platform_option[@]+"${platform_option[@]}"} "$base" 2>&1 >/dev/null)"; then
  if [[ "$release" == yes ]] || ! docker image inspect "$base" >/dev/null 2>&1; then
    die "the base $base cannot be pulled: ${error%%$'\n'*}"
  fi
  echo "the base $base cannot be pulled: the copy that is here is used" >&2
fi
# The digest in the registry of its name: the engine may know digests of the same image in several registries.
repository="${base%%@*}"
if [[ "${repository##*/}" == *:* ]]; then repository="${repository%:*}"; fi
pinned="$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$base" | grep -F "$repository@" | head -n 1 || true)"
if [[ -z "$pinned" ]]; then
  [[ "$release" == no ]] || die "--release: no registry knows $base by digest"
  pinned="$base"
fi
digest="${pinned#*@}"
[[ "$pinned" == *@* ]] || digest="$(docker image inspect --format '{{.Id}}' "$base")"

options=(--file docker/Dockerfile --tag "$name:$tag" --tag "$name:latest" ${platform_option[@]+"${platform_option[@]}"}
  --build-arg "BASE_IMAGE=$pinned" --build-arg "BASE_DIGEST=$digest"
  --build-arg "REVISION=$revision" --build-arg "CREATED=$created")
if [[ -n "${PIP_CONFIG_FILE:-}" && "$PIP_CONFIG_FILE" != /dev/null ]]; then
  options+=(--secret "id=pip.conf,src=$PIP_CONFIG_FILE")
fi
if [[ -n "${PIP_CERT:-}" ]]; then
  options+=(--secret "id=ca.pem,src=$PIP_CERT")
fi
# Without attestations a push is one image in ECR, so that its rule keeps 20 revisions. Old clients, which make none,
# ignore the variable, and would refuse --provenance=false.
BUILDX_NO_DEFAULT_ATTESTATIONS=1 DOCKER_BUILDKIT=1 docker build "${options[@]}" "$@" .

mkdir -p build/image
container="$(docker create ${platform_option[@]+"${platform_option[@]}"} "$name:$tag")"
trap 'docker rm "$container" >/dev/null' EXIT
docker cp "$container:/opt/fruits/materials/." build/image
if [[ "$check" == yes ]]; then
  "$(find_python)" -B docker/check.py "$name:$tag" --base "$pinned"
fi
echo "image   $name:$tag"
echo "id      $(docker image inspect --format '{{.Id}}' "$name:$tag")"
echo "size    $(megabytes "$name:$tag") MB, of which the base $(megabytes "$pinned") MB"
echo "base    $base ($digest)"
echo "inside  build/image/sbom.cdx.json, build/image/licences.txt"
