#!/usr/bin/env bash
# `make down`: stops a `make up` that runs here, and removes the containers of instanced.yaml's manager, their
# secrets and their network. Volumes that instances keep stay and are named; so do tokens and logs in .run.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"
# shellcheck source=scripts/local.sh
. "$repo/scripts/local.sh"

readonly PATIENCE_SECS=60

stop_up() {
  local pid
  pid=$(holder_of_lock)
  [[ $pid =~ ^[0-9]+$ ]] || die "'make up' runs here, but $run_dir/up.pid does not tell its pid"
  say "stopping 'make up' (pid $pid)"
  kill -TERM "$pid"
  flock --wait "$PATIENCE_SECS" 9 || die "'make up' (pid $pid) still runs after $PATIENCE_SECS s"
}

# The engine that `make up` started went with it.
hold_engine() {
  [ -z "${engine_started:-}" ] || "$repo/scripts/engine.sh" stop 9>&-
}

main() {
  local client manager network ids kept
  manager=$(configured "" manager default)
  network=$(configured network name mcp_instances)
  take_lock || stop_up
  if ! have "${DOCKER:-docker}"; then
    say "no docker client here, so there is nothing to remove"
    return
  fi
  client=$(docker_client)
  if ! engine_answers "$client"; then
    engine_started=yes
    trap hold_engine EXIT
    "$repo/scripts/engine.sh" ensure 9>&-
  fi
  mapfile -t ids < <("$client" ps -aq --filter "label=instanced.manager=$manager" --filter label=instanced.instance)
  say "removing ${#ids[@]} container(s) of manager '$manager'"
  [ "${#ids[@]}" -eq 0 ] || "$client" rm --force --volumes "${ids[@]}" >/dev/null
  mapfile -t ids < <("$client" volume ls -q --filter "label=instanced.manager=$manager" | grep -E -- '-g[0-9]+-secrets$' || true)
  [ "${#ids[@]}" -eq 0 ] || "$client" volume rm "${ids[@]}" >/dev/null
  if "$client" network inspect "$network" >/dev/null 2>&1; then
    "$client" network rm "$network" >/dev/null 2>&1 || warn "the network $network stays: something else stands on it"
  fi
  kept=$("$client" volume ls -q --filter "label=instanced.manager=$manager")
  [ -z "$kept" ] || say "volumes with data stay; 'docker volume rm' removes them: ${kept//$'\n'/ }"
  say "done. Manifests stay as they are: 'make up' brings all of it back"
}

main
