# shellcheck shell=bash
# What sections of the runbook may call to make their situation.
set -euo pipefail

# manifest NAME TEXT: as an editor saves it.
manifest() { printf '%b\n' "$2" >"instances.d/$1.yaml"; }

# says WORDS COMMAND...: waits until the command prints these words.
says() {
  local words=$1 said
  shift
  for _ in $(seq 300); do
    said=$("$@" 2>&1) || true
    if [[ $said == *"$words"* ]]; then return 0; fi
    sleep 0.2
  done
  printf 'after a minute it does not say %s: %s\n%s\n' "$words" "$*" "$said" >&2
  return 1
}

# phase NAME PHASE: waits until the instance stands so.
phase() { says "\"phase\":\"$2\"" sh -c "instanced --format json status $1 | tr -d ' \n'"; }
