#!/usr/bin/env bash
# Makes sure that a container engine answers, or stops the one this script started.
#   scripts/engine.sh ensure|stop|status
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

readonly START_TIMEOUT_SECS=30 STOP_TIMEOUT_SECS=30
run_dir=${INSTANCED_RUN_DIR:-$repo/.run}
log=$run_dir/dockerd.log
# What 'ensure' started: 'systemd', or a dockerd's pid and start time.
record=$run_dir/engine
host=${DOCKER_HOST:-unix:///var/run/docker.sock}
client=${DOCKER:-docker}

usage() {
  cat <<USAGE
usage: engine.sh ensure|stop|status

  ensure   does nothing when an engine answers; else installs Docker from Debian's
           packages where it is missing, and starts it
  stop     stops the engine that 'ensure' started, and no other
  status   says which engine answers; exit 1 when none does

Environment:
  DOCKER_HOST             the engine's address (default: unix:///var/run/docker.sock)
  DOCKER                  the docker client (default: docker)
  INSTANCED_RUN_DIR       for the log and the record of what was started ($run_dir)
  INSTANCED_DOCKERD_ARGS  further arguments of a dockerd that is started here. A second
                          dockerd beside another one belongs into a network namespace of
                          its own (unshare --net): even with --bridge=none it deletes the
                          first one's docker0
USAGE
}

has_systemd() { [ -d /run/systemd/system ] && have systemctl; }

answers() { have "$client" && engine_answers "$client"; }

engine_version() { "$client" version --format '{{.Server.Version}}'; }

# start_time PID: in ticks since boot; with the pid it names one process for good.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  cut -d' ' -f20 <<<"$stat"
}

# The pid of the dockerd that ensure started, if that very process still runs.
recorded_pid() {
  local pid started
  [ -f "$record" ] || return 1
  read -r pid started < "$record"
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 1
  [ "$(start_time "$pid")" = "$started" ] || return 1
  printf '%s\n' "$pid"
}

# ---- ensure ----

# An engine that runs, but not for this user, needs no second one.
refuse_if_denied() {
  local said
  have "$client" || return 0
  said=$("$client" version 2>&1 >/dev/null) || true
  [[ $said != *"permission denied"* ]] \
    || die "an engine runs at $host, but this user may not use it: run this as root, or 'adduser $(id -un) docker' and log in again"
}

refuse_if_remote() {
  [[ $host == unix://* ]] \
    || die "no engine answers at DOCKER_HOST=$host, and this script starts local ones only: start that engine, or unset DOCKER_HOST"
}

install_engine() {
  if have dockerd && have "$client"; then return; fi
  apt_install docker.io iptables
  hash -r
}

# Without systemd nobody may have mounted the cgroups that containers' limits need.
mount_cgroups() {
  grep -qE ' cgroup2? ' /proc/mounts && return
  apt_install cgroupfs-mount
  say "mounting the cgroup file systems"
  as_root cgroupfs-mount || die "cannot mount the cgroups; see what 'mount -t cgroup' says here"
}

start_with_systemd() {
  say "starting docker with systemctl"
  as_root systemctl start docker || die "docker did not start; see: journalctl -u docker -n 50"
  echo systemd > "$record"
}

# As a daemon of its own session. --live-restore lets containers outlive it.
start_detached() {
  local arguments=(--live-restore --host "$host") extra=() pid
  read -r -a extra <<<"${INSTANCED_DOCKERD_ARGS:-}"
  arguments+=("${extra[@]}")
  say "starting dockerd ${arguments[*]} (log: $log)"
  # shellcheck disable=SC2016 # expanded by the inner shell
  pid=$(as_root sh -c 'log=$1; shift; PATH=$PATH:/usr/sbin:/sbin setsid dockerd "$@" </dev/null >"$log" 2>&1 & echo $!' \
    sh "$log" "${arguments[@]}")
  sleep 0.2 # until setsid has become dockerd
  echo "$pid $(start_time "$pid" || true)" > "$record"
}

wait_for_answer() {
  local deadline=$((SECONDS + START_TIMEOUT_SECS))
  until answers; do
    if [ "$(cat "$record")" != systemd ] && ! recorded_pid >/dev/null; then
      rm -f "$record"
      explain_failure "dockerd ended while starting"
    fi
    ((SECONDS < deadline)) || refuse_if_denied
    ((SECONDS < deadline)) || explain_failure "the engine does not answer after $START_TIMEOUT_SECS s"
    sleep 0.2
  done
}

explain_failure() {
  [ ! -s "$log" ] || { say "the last lines of $log:"; tail -n 15 "$log" | cut -c1-400 >&2; }
  die "$1. The lines above name the cause. Often: another dockerd holds the data directory (stop it), the kernel or the container around this machine lacks iptables or overlayfs (INSTANCED_DOCKERD_ARGS='--iptables=false' or '--storage-driver=vfs'), or there are no cgroups. Or point DOCKER_HOST at an engine that runs elsewhere."
}

ensure() {
  if answers; then
    say "an engine answers at $host (version $(engine_version)); nothing to do"
    return
  fi
  refuse_if_remote
  refuse_if_denied
  need_root "starting a container engine"
  mkdir -p "$run_dir"
  install_engine
  # Installing the package may have started it.
  if answers; then
    say "the engine was started by its package"
    return
  fi
  if has_systemd && [ -z "${INSTANCED_DOCKERD_ARGS:-}" ]; then
    start_with_systemd
  else
    mount_cgroups
    start_detached
  fi
  wait_for_answer
  say "the engine answers at $host (version $(engine_version))"
}

# ---- stop, status ----

stop_systemd() {
  say "stopping docker with systemctl; containers go on only if its live-restore is on"
  as_root systemctl stop docker.socket docker
  rm -f "$record"
}

stop_detached() {
  local pid=$1 deadline=$((SECONDS + STOP_TIMEOUT_SECS))
  say "stopping dockerd (pid $pid); its containers go on"
  as_root kill -TERM "$pid"
  while recorded_pid >/dev/null; do
    ((SECONDS < deadline)) || die "dockerd (pid $pid) still runs after $STOP_TIMEOUT_SECS s; see $log"
    sleep 0.2
  done
  rm -f "$record"
  say "stopped"
}

stop() {
  local pid
  if [ -f "$record" ] && [ "$(cat "$record")" = systemd ]; then
    stop_systemd
  elif pid=$(recorded_pid); then
    need_root "stopping dockerd"
    stop_detached "$pid"
  else
    rm -f "$record"
    say "nothing to stop: no engine that 'ensure' started runs"
  fi
}

status() {
  local whose="not started by this script" pid
  if pid=$(recorded_pid); then
    whose="started by this script, pid $pid"
  elif [ -f "$record" ] && [ "$(cat "$record")" = systemd ]; then
    whose="started by this script with systemctl"
  fi
  if answers; then
    printf 'an engine answers at %s (version %s; %s)\n' "$host" "$(engine_version)" "$whose"
  else
    printf 'no engine answers at %s\n' "$host"
    return 1
  fi
}

case ${1:-} in
  ensure) ensure ;;
  stop) stop ;;
  status) status ;;
  -h | --help) usage ;;
  *) usage >&2; die_usage "unknown command '${1:-}'" ;;
esac
