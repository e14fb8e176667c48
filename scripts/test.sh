#!/usr/bin/env bash
# Everything that CI runs: checks, and tests with real parts. Installs what it needs and says so first; stops
# the container engine only if it started it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

say "this needs, and where missing installs or builds: Debian packages (shellcheck, docker.io, iptables,"
say "mmdebstrap, python3-venv, curl), a container engine that runs, Python tools in .tools (Traefik, the MCP"
say "SDK), and the images instanced/browser:1 and instanced/tiny:1"

apt_install curl openssl python3
scripts/engine.sh ensure
trap 'scripts/engine.sh stop' EXIT

began=$SECONDS
stage() {
  say "--- $1 ($((SECONDS - began)) s so far)"
  shift
  "$@"
}

stage "checks" scripts/check.sh
stage "tools" scripts/tools.sh
stage "the browser's image" image/build.sh
stage "the tiny image" tests/tiny/build.sh instanced/tiny:1
stage "tests without and with the engine" cargo test --locked --no-fail-fast
stage "the image's own tests" image/test.sh
stage "Traefik's configuration" traefik/test.sh
say "all tests passed in $((SECONDS - began)) s"
