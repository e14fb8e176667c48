#!/usr/bin/env bash
# Tests the image on a real engine: test.sh [IMAGE]. Everything it makes is called
# imgtest-<pid>-… and removed at the end. Two minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/../scripts/lib.sh"

image=${1:-localhost/instanced/browser:1}
readonly PREFIX=imgtest-$$-
readonly PASSWORD=S3cret-and-longer # only 'S3cret-a' counts in the protocol
readonly VIEW_PASSWORD=V1ew-only # only 'V1ew-onl' counts
readonly PROFILE=/home/mcp/profile
readonly CONTROL=(supervisorctl -c /etc/mcp/supervisord.conf)
# As the daemon runs it.
# shellcheck disable=SC2054 # the comma is an option's
readonly HARDENED=(--read-only --cap-drop ALL --security-opt no-new-privileges --user 1000
  --tmpfs /tmp:size=256m,mode=1777 --memory 1g --memory-swap 1g --pids-limit 512 --shm-size 256m
  --health-interval 1s)
passed=0
failed=0
last_output=

# ---- the little framework ----

# check WHAT COMMAND...: one assertion; shows the command's output when it fails.
check() {
  local what=$1
  shift
  if last_output=$("$@" 2>&1); then
    passed=$((passed + 1))
    printf 'ok    %s\n' "$what"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$what"
    printf '%s\n' "$last_output" | sed 's/^/      | /'
  fi
}

# eventually SECS COMMAND...: true as soon as the command is; its last output otherwise.
eventually() {
  local deadline=$((SECONDS + $1)) output
  shift
  until output=$("$@" 2>&1); do
    ((SECONDS < deadline)) || { printf '%s\n' "$output"; return 1; }
    sleep 0.1
  done
  printf '%s\n' "$output"
}

# equals EXPECTED COMMAND..., contains TEXT COMMAND..., lacks TEXT COMMAND...
equals() {
  local expected=$1 actual
  shift
  actual=$("$@" 2>&1) || true
  [ "$actual" = "$expected" ] || { printf 'expected: %s\nactual:   %s\n' "$expected" "$actual"; return 1; }
}
contains() {
  local text=$1 actual
  shift
  actual=$("$@" 2>&1) || true
  [[ $actual == *"$text"* ]] || { printf 'no "%s" in:\n%s\n' "$text" "$actual"; return 1; }
}
lacks() {
  local text=$1 actual
  shift
  actual=$("$@" 2>&1) || { printf '%s\n' "$actual"; return 1; }
  [[ $actual != *"$text"* ]] || { printf '"%s" is in:\n%s\n' "$text" "$actual"; return 1; }
}
# fails_with STATUS TEXT COMMAND...: it exits with STATUS and says TEXT.
fails_with() {
  local expected=$1 text=$2 status=0 actual
  shift 2
  actual=$("$@" 2>&1) || status=$?
  [[ $status -eq $expected && $actual == *"$text"* ]] \
    || { printf 'expected %s and "%s", not %s and:\n%s\n' "$expected" "$text" "$status" "$actual"; return 1; }
}

now_ms() { date +%s%3N; }

cleanup() {
  local ids
  ids=$("$docker" ps -aq --filter "name=^/?$PREFIX")
  # shellcheck disable=SC2086 # a list of ids
  [ -z "$ids" ] || "$docker" rm -fv $ids >/dev/null
  ids=$("$docker" volume ls -q --filter "name=$PREFIX")
  # shellcheck disable=SC2086
  [ -z "$ids" ] || "$docker" volume rm $ids >/dev/null
}

# ---- instances ----

# create NAME [OPTION...] [-- ARGUMENT...]
create() {
  local name=$PREFIX$1 options=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  "$docker" create --name "$name" "${options[@]}" "$image" "$@" >/dev/null
}

# Puts a file into a created container as the daemon does: as a tar stream onto a
# volume, owned by the instance's user, readable by it alone.
put_secret() { # NAME FILE VALUE
  local work
  work=$(mktemp -d)
  printf '%s' "$3" > "$work/$2"
  tar -C "$work" --owner=1000 --group=1000 --mode=0400 -cf - "$2" \
    | "$docker" cp - "$PREFIX$1:/run/secrets"
  rm -rf "$work"
}

start() { "$docker" start "$PREFIX$1" >/dev/null; }

# launch NAME [OPTION...] [-- ARGUMENT...]: a hardened instance with its password.
launch() {
  local name=$1
  shift
  create "$name" "${HARDENED[@]}" -v /run/secrets "$@"
  put_secret "$name" vnc_password "$PASSWORD"
  start "$name"
}

inside() { local name=$1; shift; "$docker" exec -i "$PREFIX$name" "$@"; }
inspect() { "$docker" inspect -f "$2" "$PREFIX$1"; }
logs() { "$docker" logs "$PREFIX$1" 2>&1; }
health() { inside "$1" /opt/mcp/healthcheck.sh; }
wait_ready() { eventually 20 health "$1" >/dev/null; }
pid_of() { inside "$1" "${CONTROL[@]}" pid "instance:$2"; }
mcp() { local name=$1; shift; inside "$name" node - "$@" < "$here/tests/mcp.js"; }
vnc() { local name=$1; shift; inside "$name" node - "$@" < "$here/tests/vnc.js"; }
address_of() { inside "$1" hostname -i; }

# One line per process: its command line.
# shellcheck disable=SC2016 # expanded inside
processes() {
  inside "$1" bash -c 'for p in /proc/[0-9]*; do tr "\0" " " < "$p/cmdline"; echo; done 2>/dev/null'
}
# shellcheck disable=SC2016
environments() {
  inside "$1" bash -c 'for p in /proc/[0-9]*; do tr "\0" "\n" < "$p/environ"; done 2>/dev/null'
}

# http NAME PATH: status, then the body.
http() {
  inside "$1" node -e 'fetch("http://127.0.0.1:6080" + process.argv[1]).then(async r => console.log(r.status, await r.text()))' "$2"
}

# header NAME PATH HEADER: of an answer.
header() {
  inside "$1" node -e 'fetch("http://127.0.0.1:6080" + process.argv[1]).then(r => console.log(r.headers.get(process.argv[2])))' "$2" "$3"
}

# The first bytes that come through noVNC's WebSocket.
websocket_banner() {
  inside "$1" node -e '
    const socket = new WebSocket("ws://127.0.0.1:6080/websockify", ["binary"]);
    socket.binaryType = "arraybuffer";
    socket.onmessage = event => { console.log(Buffer.from(event.data).toString()); process.exit(); };
    socket.onerror = () => { console.log("error"); process.exit(1); };'
}

# ---- the tests ----

test_hardened_start() {
  local began
  began=$(now_ms)
  launch main -e INSTANCE_ID=alice -e SCREEN_WIDTH=1024 -e SCREEN_HEIGHT=768 \
    -e MCP_ALLOWED_HOSTS=mcp-alice.example.com,mcp-alice.example.com:8443
  check 'a hardened instance answers on all of its ports' wait_ready main
  printf '      ready %d ms after docker create\n' $(($(now_ms) - began))
  check "the engine's health check says healthy" \
    eventually 15 equals healthy inspect main '{{.State.Health.Status}}'
  check 'it runs as uid 1000' equals 1000 inside main id -u
  check 'it has no capabilities' contains $'CapEff:\t0000000000000000' inside main cat /proc/1/status
  check 'its root is read-only' fails_with 1 'Read-only file system' inside main touch /opt/mcp/x
}

test_health_check_opens_nothing() {
  for _ in {1..20}; do health main >/dev/null || true; done
  check '20 health checks open no browser' lacks chromium processes main
}

test_mcp() {
  local base
  base=http://$(address_of main || true):8080
  check 'MCP initialize is answered on an allowed host' contains 200 mcp main "$base" mcp-alice.example.com
  check 'MCP initialize is answered on an allowed host with a port' contains 200 mcp main "$base" mcp-alice.example.com:8443
  check 'MCP initialize is answered on localhost' contains 200 mcp main http://127.0.0.1:8080 localhost:8080
  check 'MCP refuses another host' contains 403 mcp main "$base" evil.example.com
  check 'MCP refuses an allowed host with another port' contains 403 mcp main "$base" mcp-alice.example.com:1
  check 'a page opens in the browser' contains 'Page Title: hello' \
    mcp main "$base" mcp-alice.example.com 'data:text/html,<title>hello</title>'
  # A ping ends the session of a client that lost its listening stream; the first comes with the first call.
  check 'a client that listens is not pinged' contains 'not pinged' \
    mcp main "$base" mcp-alice.example.com 'data:text/html,<title>slow</title>' 2
  check 'the browser is as large as the screen' contains 1024x768 \
    inside main bash -c "xwininfo -root -tree | grep -m1 'hello' | tr -s ' '; xdpyinfo | grep dimensions"
}

test_vnc() {
  check 'VNC lets the password in and tells screen and instance' equals '1024x768 alice' vnc main "$PASSWORD"
  check 'VNC counts the first 8 characters of the password' equals '1024x768 alice' vnc main "${PASSWORD:0:8}"
  check 'VNC refuses another password' equals refused vnc main wrong
  check 'VNC refuses an empty password' equals refused vnc main ''
  check 'the log says once that a long password is cut' equals 1 \
    bash -c "'$docker' logs '${PREFIX}main' 2>&1 | grep -c 'longer than 8 characters'"
  check "noVNC's / leads to vnc.html" contains 'url=vnc.html' http main /
  check 'noVNC serves /vnc.html' contains 200 http main /vnc.html
  check 'browsers ask for its page anew each time' equals no-cache header main '/vnc.html?x' cache-control
  check 'but not for what the page consists of' equals null header main /app/ui.js cache-control
  check 'VNC comes through the WebSocket' contains 'RFB 003' websocket_banner main
}

# input_of NAME PASSWORD: what a client with this password makes the X server see: a line for
# each event, and the text that it copied.
input_of() {
  # There is no window, so the root window has all events.
  inside "$1" timeout 4 xev -root -event mouse -event keyboard > "$work/events" &
  sleep 0.5
  vnc "$1" "$2" input > "$work/screen" || return
  wait $! || true
  grep -oE '^(Motion|Button|Key)[A-Za-z]* event|root:.[0-9]+,[0-9]+.' "$work/events" || true
  inside "$1" xprop -root CUT_BUFFER0
}

test_view_only() {
  local work
  work=$(mktemp -d)
  create views "${HARDENED[@]}" -v /run/secrets -e INSTANCE_ID=bob
  put_secret views vnc_password "$PASSWORD"
  put_secret views vnc_view_password "$VIEW_PASSWORD"
  start views
  wait_ready views || true
  check 'who may look alone sees the screen' equals '1280x720 bob' vnc views "$VIEW_PASSWORD"
  check 'and moves, clicks, types and copies nothing' equals 'CUT_BUFFER0:  not found.' input_of views "$VIEW_PASSWORD"
  check 'but goes on seeing' equals '1280x720 bob seen 16384' cat "$work/screen"
  input_of views "$PASSWORD" > "$work/input" || true
  check 'the other password moves the pointer' contains 'root:(321,234)' cat "$work/input"
  check 'and clicks' contains 'ButtonPress event' cat "$work/input"
  check 'and types' contains 'KeyPress event' cat "$work/input"
  check 'and copies' contains 'copied-by-the-client' cat "$work/input"
  check 'a third password is refused' equals refused vnc views wrong
  check "VNC's password for looking is in no command line" lacks "${VIEW_PASSWORD:0:8}" processes views
  check 'and in no log' lacks "${VIEW_PASSWORD:0:8}" logs views
  rm -rf "$work"
}

test_password_is_nowhere() {
  local secret=${PASSWORD:0:8}
  check 'the password is in no command line' lacks "$secret" processes main
  check 'the password is in no environment' lacks "$secret" environments main
  check "the password is not in the engine's inspect" lacks "$secret" "$docker" inspect "${PREFIX}main"
  check 'the password is not in the log' lacks "$secret" logs main
  check 'the password is in no file of /tmp' fails_with 1 '' inside main grep -rqs "$secret" /tmp
}

test_log_prefixes() {
  check "output carries its program's name" contains 'mcp | Listening' logs main
}

# process_restarted NAME PROGRAM OLD_PID
process_restarted() {
  local pid
  pid=$(pid_of "$1" "$2")
  [ "$pid" -gt 1 ] && [ "$pid" != "$3" ] && health "$1"
}

# kill_program NAME PROGRAM: prints the pid that it killed.
kill_program() {
  local pid
  pid=$(pid_of "$1" "$2") || return 0
  inside "$1" bash -c "kill -KILL $pid"
  printf '%s' "$pid"
}

test_deaths() {
  local program pid
  for program in xvfb mcp x11vnc websockify; do
    inside main "${CONTROL[@]}" stop "instance:$program" >/dev/null || true
    check "the health check names a missing $program" fails_with 1 "missing: $program" health main
    inside main "${CONTROL[@]}" start "instance:$program" >/dev/null || true
    wait_ready main || true
    pid=$(kill_program main "$program")
    check "$program comes back when it is killed" eventually 10 process_restarted main "$program" "$pid"
  done
  for _ in {1..10}; do
    pid=$(kill_program main x11vnc)
    eventually 10 process_restarted main x11vnc "$pid" >/dev/null || break
  done
  check 'x11vnc comes back after ten deaths in a row' wait_ready main
  check 'the browser opens again after all those deaths' contains 'Page Title: again' \
    mcp main http://127.0.0.1:8080 localhost:8080 'data:text/html,<title>again</title>'
}

test_stop() {
  local began
  began=$(now_ms)
  "$docker" stop "${PREFIX}main" >/dev/null
  printf '      stopped with an open browser in %d ms\n' $(($(now_ms) - began))
  check 'docker stop ends it in good order (exit 0, not 137)' equals 0 inspect main '{{.State.ExitCode}}'
  check 'it starts again after a stop' bash -c "'$docker' start '${PREFIX}main'"
  check 'and is ready again' wait_ready main
}

# A program that never comes up must end the container: the engine's policy then acts.
test_gives_up() {
  launch broken -- --no-such-option
  check 'a program that keeps failing ends the container with 70' \
    eventually 150 equals 'exited 70' inspect broken '{{.State.Status}} {{.State.ExitCode}}'
  check 'and the log says which' contains 'mcp keeps failing' logs broken
  # On a slow machine a program needs longer than supervisord's startsecs to fail.
  launch slowly -e 'NODE_OPTIONS=--import=data:text/javascript,setTimeout(()=>process.exit(1),1500)'
  check 'also one that takes over a second to fail each time' \
    eventually 150 equals 'exited 70' inspect slowly '{{.State.Status}} {{.State.ExitCode}}'
}

# One whose root and /tmp outlive a restart, with what a crash leaves behind.
test_stale_locks() {
  create stale -v /run/secrets -v "${PREFIX}profile:$PROFILE"
  put_secret stale vnc_password "$PASSWORD"
  start stale
  wait_ready stale || true
  inside stale bash -c "
    ln -sf another-host-1 $PROFILE/SingletonLock
    ln -sf /tmp/gone/SingletonSocket $PROFILE/SingletonSocket
    ln -sf 1234 $PROFILE/SingletonCookie"
  "$docker" kill "${PREFIX}stale" >/dev/null
  plant_x_lock stale
  start stale
  check 'it starts over the locks of a killed X server' wait_ready stale
  check 'the browser opens over the locks of a killed browser' contains 'Page Title: kept' \
    mcp stale http://127.0.0.1:8080 localhost:8080 'data:text/html,<title>kept</title>'
  check 'the browser keeps its profile in the volume' eventually 30 inside stale test -s "$PROFILE/Default/Preferences"
  check 'a second client shares the browser of a kept profile' contains 'Page Title: second' \
    mcp stale http://127.0.0.1:8080 localhost:8080 'data:text/html,<title>second</title>'
}

# Plants an X lock whose pid is alive whenever the container is, so that Xvfb cannot
# tell by itself that it is stale.
plant_x_lock() {
  local work
  work=$(mktemp -d)
  echo '         1' > "$work/.X99-lock"
  tar -C "$work" --owner=1000 --group=1000 --mode=0444 -cf - .X99-lock | "$docker" cp - "$PREFIX$1:/tmp"
  rm -rf "$work"
}

test_profile_moves_to_a_new_container() {
  "$docker" rm -f "${PREFIX}stale" >/dev/null # kills the browser: its lock names the old host
  launch moved -v "${PREFIX}profile:$PROFILE"
  wait_ready moved || true
  check 'a profile opens in a new, hardened container' contains 'Page Title: moved' \
    mcp moved http://127.0.0.1:8080 localhost:8080 'data:text/html,<title>moved</title>'
}

test_screen() {
  launch screen -e SCREEN_WIDTH=800 -e SCREEN_HEIGHT=600 -e COLOR_DEPTH=16
  wait_ready screen || true
  check 'the screen has the size asked for' contains 'dimensions:    800x600' inside screen xdpyinfo
  check 'the screen has the depth asked for' contains 'depth of root window:    16' inside screen xdpyinfo
}

# refused NAME MESSAGE: asserts exit 64 and the message, and that it said nothing else.
refused() {
  eventually 10 equals 'exited 64' inspect "$1" '{{.State.Status}} {{.State.ExitCode}}' \
    && contains "$2" logs "$1" && equals 1 grep -c 'error:' <(logs "$1")
}

test_wrong_settings() {
  local count=0 setting expected
  while IFS='|' read -r setting expected; do
    count=$((count + 1))
    launch "wrong$count" -e "$setting"
    check "$setting is refused with 64" refused "wrong$count" "$expected"
  done <<'CASES'
INSTANCE_ID=Not_A_Label|INSTANCE_ID must be a DNS label
SCREEN_WIDTH=wide|SCREEN_WIDTH must be a whole number from 320 to 7680, not 'wide'
SCREEN_WIDTH=08|SCREEN_WIDTH must be a whole number
SCREEN_HEIGHT=99999|SCREEN_HEIGHT must be a whole number from 240 to 4320, not '99999'
COLOR_DEPTH=8|COLOR_DEPTH must be 16 or 24, not '8'
MCP_ALLOWED_HOSTS=a"b|MCP_ALLOWED_HOSTS must be
MCP_ALLOWED_HOSTS=*|MCP_ALLOWED_HOSTS must be
MCP_IDLE_TIMEOUT_SECS=-1|MCP_IDLE_TIMEOUT_SECS must be
CASES
}

test_wrong_password() {
  create nopass "${HARDENED[@]}"
  start nopass
  check 'no password file is refused with 64' refused nopass '/run/secrets/vnc_password does not exist'
  create envpass "${HARDENED[@]}" -e VNC_PASSWORD=visible-in-env
  start envpass
  check 'a password in the environment is no password' refused envpass 'does not exist'
  create empty "${HARDENED[@]}" -v /run/secrets
  put_secret empty vnc_password $'\n'
  start empty
  check 'an empty password is refused with 64' refused empty 'is empty'
  create comment "${HARDENED[@]}" -v /run/secrets
  put_secret comment vnc_password '#1secret'
  start comment
  check 'a password that x11vnc would skip is refused with 64' refused comment "begins with '#'"
  create alike "${HARDENED[@]}" -v /run/secrets
  put_secret alike vnc_password "$PASSWORD"
  put_secret alike vnc_view_password "${PASSWORD:0:8}, and other words"
  start alike
  check 'a password for looking that could also type is refused with 64' refused alike 'whoever may look could also type'
  create elsewhere "${HARDENED[@]}" -v /run/secrets -e VNC_PASSWORD_FILE=/run/secrets/other
  put_secret elsewhere other short
  start elsewhere
  wait_ready elsewhere || true
  check 'VNC_PASSWORD_FILE names another file' equals '1280x720 local' vnc elsewhere short
}

test_labels() {
  local title='{{index .Config.Labels "org.opencontainers.image.title"}}'
  check 'the image says what it is' equals 'instanced browser' "$docker" image inspect -f "$title" "$image"
  check 'the image runs as uid 1000 by itself' equals 1000:1000 "$docker" image inspect -f '{{.Config.User}}' "$image"
}

main() {
  docker=$(docker_client)
  "$docker" image inspect "$image" >/dev/null 2>&1 || die "no image $image: run image/build.sh"
  trap cleanup EXIT
  test_labels
  test_hardened_start
  test_health_check_opens_nothing
  test_mcp
  test_vnc
  test_password_is_nowhere
  test_view_only
  test_log_prefixes
  test_deaths
  test_stop
  test_gives_up
  test_stale_locks
  test_profile_moves_to_a_new_container
  test_screen
  test_wrong_settings
  test_wrong_password
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

main
