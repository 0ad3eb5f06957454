#!/usr/bin/env bash
# Builds the images of the parts from docker/, with docker, podman or buildah. Called by `make images`; docs/images.md tells
# what each variable is for.
#   images.sh [PART…]    gateway, dispatcher and worker unless others are named
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'images: %s\n' "$*" >&2
    exit 1
}

tool=${BUILDER:-}
for candidate in docker podman buildah; do
    [[ -n "$tool" ]] || ! command -v "$candidate" >/dev/null || tool=$candidate
done
[[ -n "$tool" ]] || fail "needs docker, podman or buildah; install one, or name another with BUILDER=…"

# A working copy that differs from its commit is no release.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
for name in PYTHON_IMAGE VLLM_IMAGE ACCELERATOR_IMAGE TORCH_INDEX CHECK_ENGINE; do
    [[ -z "${!name+set}" ]] || arguments+=(--build-arg "$name=${!name}")
done

parts=("$@")
((${#parts[@]} > 0)) || parts=(gateway dispatcher worker)
for part in "${parts[@]}"; do
    [[ -f docker/$part/Dockerfile ]] || fail "there is no docker/$part; there are $(cd docker && echo */)"
    image=${REGISTRY:+$REGISTRY/}backburner/$part:${TAG:-$version}
    echo "images: building $image with $tool"
    "$tool" build "${arguments[@]}" --file "docker/$part/Dockerfile" --tag "$image" .
done
