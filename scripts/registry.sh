#!/usr/bin/env bash
# A registry of images for tests: prints the path of a docker-registry, the one on PATH, else Debian's, which is unpacked
# in DIR and not installed: as a service it would run from then on.
#
#   scripts/registry.sh [DIR]    DIR is $INSTANCED_TOOLS/registry, or .tools/registry in the repository
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

if found=$(command -v docker-registry); then
  printf '%s\n' "$found"
  exit 0
fi
dir=${1:-${INSTANCED_TOOLS:-$repo/.tools}/registry}
program=$dir/usr/bin/docker-registry
if [ ! -x "$program" ]; then
  have apt-get || die "no docker-registry here, and no apt-get to fetch it: install one by hand"
  mkdir -p "$dir"
  say "fetching Debian's docker-registry into $dir"
  apt_refresh docker-registry
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && apt-get download -qq docker-registry >/dev/null) || die "docker-registry could not be fetched"
  dpkg -x "$work"/docker-registry_*.deb "$dir"
fi
[ -x "$program" ] || die "Debian's package has no usr/bin/docker-registry any more"
printf '%s\n' "$program"
