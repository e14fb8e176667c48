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

# The licences that deny.toml allows, one a line.
allowed_licences() { sed -n '/^allow = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' deny.toml; }

# is_allowed EXPRESSION ALLOWED: SPDX, where AND binds closer than OR, as & does than |.
is_allowed() {
  local word arithmetic=
  for word in $(sed 's|/| OR |g; s/ WITH /_WITH_/g; s/[()]/ & /g' <<<"$1"); do
    case $word in
      OR) arithmetic+='|' ;;
      AND) arithmetic+='&' ;;
      '(' | ')') arithmetic+=$word ;;
      *) if grep -qxF -- "${word//_WITH_/ WITH }" <<<"$2"; then arithmetic+=1; else arithmetic+=0; fi ;;
    esac
  done
  [ -n "$arithmetic" ] && [ $((arithmetic)) -eq 1 ]
}

# Every dependency comes from the registry, and may be used; `cargo deny` looks deeper, where it is installed.
dependencies() {
  local allowed package licence bad=0
  allowed=$(allowed_licences)
  if grep -n '^source = "git' Cargo.lock; then
    printf 'a dependency comes from a git repository; only the registry is allowed\n'
    bad=1
  fi
  while IFS='|' read -r package licence; do
    is_allowed "$licence" "$allowed" && continue
    printf '%s: the licence "%s" is not among those of deny.toml\n' "$package" "$licence"
    bad=1
  done < <(cargo tree --locked --edges normal,build --target all --no-dedupe --prefix none --format '{p}|{l}' | sort -u)
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check bans licenses sources || bad=1
  fi
  return "$bad"
}

# Every shell script that is ours, by name or by its first line.
shell_scripts() {
  find .ci image scripts tests traefik -type f \
    \( -name '*.sh' -o -exec sh -c 'head -c 64 "$1" | grep -qE "^#!.*\<(bash|sh)$"' sh {} \; \) -print0
}
shell() { shell_scripts | xargs -0 shellcheck --external-sources; }

have cc || apt_install gcc libc6-dev
have shellcheck || apt_install shellcheck

check "format" cargo fmt --check
check "lints" cargo clippy --locked --all-targets --quiet -- -D warnings
check "dependencies" dependencies
check "shell scripts" shell

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
