#!/usr/bin/env bash
# What needs no engine and runs no test: format, lints, licences, shell scripts, and the words that must not
# be in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

apt_install shellcheck
say "format"
cargo fmt --check
say "lints"
cargo clippy --locked --all-targets -- -D warnings
say "licences"
if have cargo-deny; then
  cargo deny --offline check bans licenses sources
else
  python3 scripts/licences.py
fi
say "shell scripts"
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x
say "all is well"
