#!/usr/bin/env bash
# Power cuts: tests/machine/test.sh PROGRAM. On an emulated Debian 13 machine (build.sh) the program is installed by
# `make install` and run by its units, with a fleet of tiny instances. Tokens are issued and revoked, an instance is
# suspended and resumed, removals are confirmed; each acknowledgement arrives here by a serial port. QEMU is killed
# at a random moment, and after the next boot on the same disk everything that was acknowledged must be there, the
# plan must be empty and the fleet must run. guest.sh is what runs in the machine.
#
# Two cuts; with INSTANCED_SOAK=long twenty. INSTANCED_SOAK_SEED repeats the moments of a run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

readonly BOOT_LIMIT_SECS=900 # a machine that hangs; on two idle cores a boot takes one minute
program=${1:?usage: test.sh PROGRAM}
cuts=2
[ "${INSTANCED_SOAK:-}" != long ] || cuts=20
seed=${INSTANCED_SOAK_SEED:-$RANDOM}
logs=${INSTANCED_RUN_DIR:-$repo/.run}/machine # of each boot: what it printed, and its console
work=
qemu=
passed=0
failed=0

cleanup() {
  [ -z "$qemu" ] || kill -KILL "$qemu" 2>/dev/null || true
  [ -z "$work" ] || rm -rf "$work"
}

check() { # WHAT COMMAND…
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok    %s\n' "$what"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$what"
  fi
}

# What the first boot installs. Symbols are of no use there, and half a minute of copying.
stage() {
  strip --strip-debug -o "$work/instanced" "$program"
  make --silent -C "$repo" install "DESTDIR=$work/in/stage" PREFIX=/usr "BINARY=$work/instanced"
  "$repo/tests/tiny/build.sh" --program "$work/in/tiny"
  cat > "$work/in/instanced.yaml" <<'YAML'
domain: mcp.localhost
public: { scheme: http, port: 80 }
source: { dir: instances.d }
state: /var/lib/instanced
listen: { auth: "127.0.0.1:9180" }
traefik: { entrypoints: [web], tls: false }
YAML
}

boot() { # NUMBER MODE
  out=$logs/boot-$1
  cp "$here/guest.sh" "$work/in/run.sh"
  printf '%s\n' "$1" > "$work/in/boot"
  printf '%s\n' "$2" > "$work/in/mode"
  printf '%s\n' $((RANDOM % 8)) > "$work/in/step"
  [ "$1" -ne 1 ] || echo 0 > "$work/in/step"
  cp "$work/journal" "$work/in/journal"
  tar -C "$work/in" -cf "$work/in.tar" .
  rm -rf "$work/in/stage"
  : > "$out"
  # One processor: with several the kernel of the guest panics now and then. What QEMU was given survives its own
  # end in the host's memory, so `cache=unsafe` loses what the guest has not written, and no more.
  setpriv --pdeathsig KILL qemu-system-x86_64 -machine q35 -accel tcg,thread=single -cpu max -smp 1 -m 2G \
    -no-reboot -nic none -display none -kernel "$machine/vmlinuz" -initrd "$machine/initrd.img" \
    -append 'root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 mitigations=off net.ifnames=0' \
    -drive "file=$work/disk.img,format=raw,if=virtio,cache=unsafe" \
    -drive "file=$work/in.tar,format=raw,if=virtio,readonly=on" \
    -serial "file:$out.console" -serial "file:$out" </dev/null &
  qemu=$!
}

# What a boot printed, line by line. `read` fails on a last line that was cut off.
lines() { # FILE
  local line
  tr -d '\r' < "$1" | while IFS= read -r line; do printf '%s\n' "$line"; done
}

# Waits until the boot printed such a line.
printed() { # REGEXP
  local deadline=$((SECONDS + BOOT_LIMIT_SECS)) ended=
  until lines "$out" | grep -E "$1" >/dev/null; do
    if [ -n "$ended" ]; then
      warn "the machine ended by itself; its console: $out.console"
      return 1
    fi
    ((SECONDS < deadline)) || { warn "no line '$1' in $out"; return 1; }
    kill -0 "$qemu" 2>/dev/null || ended=yes # what it printed last is looked at once more
    sleep 0.2
  done
}

# Up to 15 seconds later.
wait_a_moment() {
  local millis=$((RANDOM % 15000))
  sleep "$((millis / 1000)).$(printf '%03d' $((millis % 1000)))"
}

cut_the_power() {
  kill -KILL "$qemu" 2>/dev/null || true
  wait "$qemu" 2>/dev/null || true
  qemu=
}

# Counts the checks of a boot, and keeps what it acknowledged for the next one.
take_over() { # NUMBER
  local line
  while IFS= read -r line; do
    case $line in
      'ok '*) check "boot $1: ${line#ok }" true ;;
      'FAIL '*) check "boot $1: ${line#FAIL }" false ;;
    esac
  done < <(lines "$out")
  lines "$out" | grep -E '^(begin|done) ' >> "$work/journal" || true
}

acknowledged() { grep -cE "^done $1 " "$work/journal" || true; }

main() {
  local number kind counts=
  machine=$("$here/build.sh")
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  work=$(mktemp -d)
  mkdir -p "$logs" "$work/in"
  rm -f "$logs"/boot-*
  RANDOM=$seed
  printf 'INSTANCED_SOAK_SEED=%s, %d cuts\n' "$seed" "$cuts"
  stage
  cp --sparse=always "$machine/disk.img" "$work/disk.img"
  : > "$work/journal"
  for ((number = 1; number <= cuts; number++)); do
    boot "$number" work
    if [ "$number" -eq 1 ]; then
      # One of each at least, whatever the seed.
      check 'boot 1: each kind of command is acknowledged' printed '^done remove ember'
    elif ((number % 4 == 3)); then
      # While it starts: Docker and the daemon find what the last cut left.
      check "boot $number: it starts" printed '^log '
    else
      check "boot $number: commands are acknowledged" printed '^done '
    fi
    wait_a_moment
    cut_the_power
    take_over "$number"
  done
  boot "$number" last
  check "boot $number: it comes to its end" printed '^run.sh ended with 0'
  cut_the_power
  take_over "$number"
  for kind in issue revoke suspend remove; do
    counts+=" $kind $(acknowledged "$kind")"
    check "the power went after acknowledged commands: $kind" test "$(acknowledged "$kind")" -gt 0
  done
  printf 'acknowledged:%s\n' "$counts"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

main
