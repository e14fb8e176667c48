#!/usr/bin/env bash
# `make bench`: the figures that are promised, each beside its limit, in one table on standard output. Exit 1 when
# one misses its limit, 2 when one could not be taken.
#
# Starts a container engine if none answers, and builds the release binary and the tiny test image. What it then
# measures with (daemons, up to 400 containers, a network, state) is its own, by the name bench-<pid>, and goes
# again, also after a failure. It does not ask that the machine be otherwise idle, but tells its load. Takes
# 2.5 GB of memory and about fifteen minutes.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

readonly IMAGE=instanced/tiny:1
manager=bench-$$
work=
client=
helper=

# What was made. Who made it is gone by now, so that nothing comes again.
remove_made() {
  local ids
  # Its own, those of its managers, and those of docker-compose; another bench's number only begins like ours.
  ids=$("$client" ps --all --quiet --filter "name=^/?(instanced-)?$manager-")
  [ -z "$ids" ] || xargs -n 20 -P 4 "$client" rm --force --volumes <<<"$ids" >/dev/null
  ids=$("$client" volume ls --quiet --filter "label=instanced.manager=$manager")
  [ -z "$ids" ] || xargs "$client" volume rm --force <<<"$ids" >/dev/null
  ids=$("$client" network ls --quiet --filter "name=^$manager\$")
  [ -z "$ids" ] || xargs "$client" network rm <<<"$ids" >/dev/null
}

clean_up() {
  trap '' INT TERM HUP # a second Ctrl-C would leave half of it
  if [ -n "$helper" ] && kill -TERM "$helper" 2>/dev/null; then
    wait "$helper" 2>/dev/null || true
  fi
  [ -z "$client" ] || remove_made || warn "not all of $manager could be removed; see: $client ps --all, network ls"
  [ -z "$work" ] || rm -rf "$work"
}

suits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  python=python3
  suits "$python" && return
  say "no python3 of 3.11 or newer here"
  apt_install python3
  python=/usr/bin/python3
  suits "$python" || die "Debian's python3 here is older than 3.11: put a newer one on PATH"
}

# Builds what measures from within, and tells where it is.
built_speed() {
  cargo build --release --locked --quiet --bench speed --message-format=json \
    | "$python" -c 'import json, sys
built = [json.loads(line) for line in sys.stdin]  # to the end: cargo has more to tell
print(next(b["executable"] for b in built if b.get("executable") and b["target"]["name"] == "speed"))'
}

machine() {
  printf '%s, %s cores, Linux %s, engine %s, load %s before\n' \
    "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" \
    "$("$client" version --format '{{.Server.Version}}')" "$(cut -d' ' -f1-3 /proc/loadavg)"
  printf '%s, at %s%s\n\n' "$(target/release/instanced --version)" \
    "$(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')" \
    "$([ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || echo ' and changes')"
}

bench() {
  local engine python speed traefik status=0
  have cargo || die "no cargo here: install a Rust toolchain first (rustup, or a Debian whose cargo is new enough)"
  have cc || apt_install gcc libc6-dev
  have curl || apt_install curl
  have docker-compose || apt_install docker-compose
  have wrk || apt_install wrk
  [ -x /usr/sbin/nginx ] || apt_install nginx-light
  find_python
  traefik=$("$repo/scripts/tools.sh" --only traefik)
  "$repo/scripts/engine.sh" ensure
  engine=${DOCKER_HOST:-unix:///var/run/docker.sock}
  [[ $engine == unix://* ]] || die "the calls are counted on a unix socket, not at DOCKER_HOST=$engine"
  # The program last: what measures it from within is built with more than it is.
  say "cargo build --release --locked, benches/speed before it"
  speed=$(built_speed)
  cargo build --release --locked --quiet
  tests/tiny/build.sh "$IMAGE"

  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  client=$(docker_client)
  work=$(mktemp -d)
  machine
  # In the background, so that a signal is acted upon at once.
  "$python" -B benches/figures.py --binary target/release/instanced --speed "$speed" \
    --engine "${engine#unix://}" --image "$IMAGE" --manager "$manager" \
    --traefik "$traefik" --work "$work" &
  helper=$!
  wait "$helper" || status=$?
  helper=
  return "$status"
}

bench
