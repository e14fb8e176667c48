#!/usr/bin/env bash
# `make check`: what needs no engine and runs no test. All of it is looked at, also after a failure; the last line is
# `N passed, N failed`.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

passed=0
failed=0

check() { # WHAT COMMAND...
  local what=$1 began=$SECONDS
  shift
  say "$what: $*"
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok    %s (%d s)\n' "$what" $((SECONDS - began))
  else
    failed=$((failed + 1))
    printf 'FAIL  %s (%d s)\n' "$what" $((SECONDS - began))
  fi
}

# Every dependency comes from the registry, and may be used; `cargo deny` looks deeper, where it is installed.
dependencies() {
  local bad=0
  python3 scripts/licences.py || bad=1
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check bans licenses sources || bad=1
  fi
  return "$bad"
}

# Every shell script that is ours, by name or by its first line.
shell_scripts() {
  find .ci examples image scripts tests traefik -type f \
    \( -name '*.sh' -o -exec sh -c 'head -c 64 "$1" | grep -qE "^#!.*\<(bash|sh)$"' sh {} \; \) -print0
}
shell() { shell_scripts | xargs -0 shellcheck --external-sources; }

have cc || apt_install gcc libc6-dev
have shellcheck || apt_install shellcheck
have python3 || apt_install python3

check "format" cargo fmt --check
check "lints" cargo clippy --locked --all-targets --quiet -- -D warnings
check "dependencies" dependencies
check "shell scripts" shell

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
