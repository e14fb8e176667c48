#!/usr/bin/env bash
# Builds the browser instance's image: build.sh --help
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/../scripts/lib.sh"

readonly DEFAULT_BASE=node:22-bookworm-slim
readonly SOURCE_LABEL=instanced.image.source BASE_LABEL=instanced.image.base
readonly PULL_TIMEOUT_SECS=60
tag=localhost/instanced/browser:1
base=
rebuild=false

usage() {
  cat <<USAGE
usage: build.sh [--tag NAME] [--base IMAGE] [--rebuild]

  --tag NAME     the image's name (default: $tag)
  --base IMAGE   a Debian bookworm with node 22 and npm (default: $DEFAULT_BASE;
                 where no registry answers, one made here of Debian's packages)
  --rebuild      build again from the newest packages, even if nothing changed here

Environment: DOCKER names the docker client, DOCKER_HOST the engine.
USAGE
}

parse_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --tag | --base)
        [ -n "${2:-}" ] || die_usage "$1 needs a value"
        if [ "$1" = --tag ]; then tag=$2; else base=$2; fi
        shift 2
        ;;
      --rebuild) rebuild=true; shift ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; die_usage "unknown argument '$1'" ;;
    esac
  done
}

# Names, modes and contents of what the build reads, and nothing else.
source_digest() {
  (
    cd "$here"
    find Dockerfile .dockerignore package.json package-lock.json dpkg-slim.cfg rootfs -type f -print0 \
      | LC_ALL=C sort -z \
      | while IFS= read -r -d '' file; do
        [ -x "$file" ] && printf 'x ' || printf -- '- '
        sha256sum "$file"
      done
  ) | sha256sum | cut -d' ' -f1
}

image_label() { # IMAGE LABEL
  "$docker" image inspect -f "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null || true
}

# An image is up to date when it was made of the same source and, where a base was
# asked for, of that base.
up_to_date() { # DIGEST
  [ "$rebuild" = false ] || return 1
  [ "$(image_label "$tag" "$SOURCE_LABEL")" = "$1" ] || return 1
  [ -z "$base" ] || [ "$(image_label "$tag" "$BASE_LABEL")" = "$base" ]
}

present() { "$docker" image inspect "$1" >/dev/null 2>&1; }

# pull IMAGE. With its own timeout: a firewall that drops packets would hold it for
# minutes.
pull() {
  say "pulling $1"
  timeout "$PULL_TIMEOUT_SECS" "$docker" pull --quiet "$1" >/dev/null 2> "$log"
}

# Sets base to an image that is on the engine.
resolve_base() {
  local wanted=${base:-$DEFAULT_BASE}
  if [ "$rebuild" = false ] && present "$wanted"; then
    base=$wanted
  elif pull "$wanted"; then
    base=$wanted
  elif present "$wanted"; then
    warn "cannot pull $wanted: using the one that is here"
    base=$wanted
  elif [ -n "$base" ]; then
    cat "$log" >&2
    die "cannot pull $base: name an image that is on the engine or in a registry it reaches"
  else
    say "cannot pull it: $(tail -n 1 "$log" | cut -c1-200)"
    say "making the base here of Debian's packages"
    base=$("$here/local-base.sh")
  fi
}

build() { # DIGEST
  local options=(--force-rm --build-arg "BASE_IMAGE=$base"
    --label "$SOURCE_LABEL=$1" --label "$BASE_LABEL=$base" --tag "$tag")
  [ "$rebuild" = false ] || options+=(--no-cache)
  say "building $tag on $base (about a minute)"
  "$docker" build "${options[@]}" "$here" > "$log" 2>&1 \
    || { tail -n 40 "$log" >&2; die "the build of $tag failed; its last lines are above"; }
}

main() {
  local digest
  parse_arguments "$@"
  docker=$(docker_client)
  engine_answers "$docker" \
    || die "no container engine answers: run scripts/engine.sh ensure, or set DOCKER_HOST"
  digest=$(source_digest)
  if up_to_date "$digest"; then
    say "$tag is up to date"
    return
  fi
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  resolve_base
  build "$digest"
  say "built $tag ($("$docker" image inspect -f '{{.Size}}' "$tag" | awk '{printf "%.0f MB", $1 / 1e6}'))"
}

main "$@"
