#!/bin/bash
# An instance's start: checks what it was given, clears what an earlier run left
# behind, prepares /tmp and becomes supervisord. Its arguments go to Playwright MCP.
# A wrong setting is exit code 64 with one line for each; README.md lists them all.
set -euo pipefail

readonly RUN_DIR=/tmp/run WORK_DIR=/tmp/mcp PROFILE_DIR=/home/mcp/profile
readonly LOCAL_HOSTS=localhost:8080,127.0.0.1:8080 # the health check's and exec's
problems=0

log() { printf 'entrypoint | %s\n' "$*"; }

problem() {
  printf 'entrypoint | error: %s\n' "$*" >&2
  problems=$((problems + 1))
}

# check_number NAME MIN MAX. Leading zeros are refused: arithmetic takes them as octal.
check_number() {
  local value=${!1}
  if [[ ! $value =~ ^[1-9][0-9]{0,5}$ ]] || ((value < $2 || value > $3)); then
    problem "$1 must be a whole number from $2 to $3, not '$value'"
  fi
}

check_settings() {
  : "${INSTANCE_ID:=local}" "${SCREEN_WIDTH:=1280}" "${SCREEN_HEIGHT:=720}" "${COLOR_DEPTH:=24}"
  : "${MCP_ALLOWED_HOSTS:=}" "${MCP_IDLE_TIMEOUT_SECS:=900}"
  export INSTANCE_ID SCREEN_WIDTH SCREEN_HEIGHT COLOR_DEPTH
  [[ $INSTANCE_ID =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] \
    || problem "INSTANCE_ID must be a DNS label (a-z, 0-9, '-'; at most 63), not '$INSTANCE_ID'"
  check_number SCREEN_WIDTH 320 7680
  check_number SCREEN_HEIGHT 240 4320
  [[ $COLOR_DEPTH =~ ^(16|24)$ ]] || problem "COLOR_DEPTH must be 16 or 24, not '$COLOR_DEPTH'"
  [[ $MCP_IDLE_TIMEOUT_SECS == 0 ]] || check_number MCP_IDLE_TIMEOUT_SECS 10 604800
  # '*' would switch the check off; a page's DNS rebinding could then call this server.
  [[ -z $MCP_ALLOWED_HOSTS || $MCP_ALLOWED_HOSTS =~ ^[][A-Za-z0-9._:,-]+$ ]] \
    || problem "MCP_ALLOWED_HOSTS must be host[:port] names, separated by commas, not '$MCP_ALLOWED_HOSTS'"
}

# The passwords stay in their files; run-x11vnc.sh hands them to x11vnc. The environment
# is no place for them, as 'inspect' and every child would show them.
check_passwords() {
  local password='' full
  export VNC_PASSWORD_FILE=${VNC_PASSWORD_FILE:-/run/secrets/vnc_password}
  export VNC_VIEW_PASSWORD_FILE=${VNC_VIEW_PASSWORD_FILE:-/run/secrets/vnc_view_password}
  if [ -n "${VNC_PASSWORD+set}" ]; then
    log "warning: VNC_PASSWORD in the environment is ignored: put the password into a file"
    unset VNC_PASSWORD
  fi
  check_password 'VNC password' "$VNC_PASSWORD_FILE" VNC_PASSWORD_FILE
  [ -e "$VNC_VIEW_PASSWORD_FILE" ] || return 0
  full=$password
  check_password 'VNC password for looking alone' "$VNC_VIEW_PASSWORD_FILE" VNC_VIEW_PASSWORD_FILE
  [ -z "$full" ] || [ "$(counted "$full")" != "$(counted "$password")" ] \
    || problem "the VNC password and the one for looking alone begin with the same 8 characters: whoever may look could also type"
}

# What the protocol counts of a password: 8 bytes.
counted() { (LC_ALL=C; printf '%s' "${1:0:8}"); }

# check_password WHAT FILE VARIABLE: sets password to the file's first line. x11vnc takes
# a line that begins with '#', or has one of its own words in it, for something else.
check_password() {
  password=
  if [ ! -e "$2" ]; then
    problem "no $1: $2 does not exist ($3 names another file)"
  elif [ ! -f "$2" ] || [ ! -r "$2" ]; then
    problem "no $1: $2 cannot be read as uid $(id -u) (mode 0400, owner 1000)"
  else
    IFS= read -r password < "$2" || true
    case $(counted "$password") in
      '#'* | *__SKIP__* | *__COMM__*) problem "x11vnc takes no $1 that begins with '#' or holds __SKIP__ or __COMM__: $2" ;;
      *[![:space:]]*) ;;
      *) problem "no $1: the first line of $2 is empty" ;;
    esac
    [ "${#password}" -le 8 ] \
      || log "the $1 is longer than 8 characters: the protocol uses the first 8 only"
  fi
}

# A restart keeps /tmp unless it is a tmpfs: a lock of a dead X server or browser
# would keep the new one from starting for ever.
clear_leftovers() {
  rm -rf "$RUN_DIR" "/tmp/.X${DISPLAY#:}-lock" "/tmp/.X11-unix/X${DISPLAY#:}" \
    /tmp/playwright* /tmp/.org.chromium.*
}

make_directories() {
  (umask 077 && mkdir -p "$RUN_DIR" "$WORK_DIR" /tmp/home)
  mkdir -p /tmp/.X11-unix
  chmod 1777 /tmp/.X11-unix
  export HOME=/tmp/home XDG_CONFIG_HOME=/tmp/home/.config XDG_CACHE_HOME=/tmp/home/.cache
  export XDG_RUNTIME_DIR=$RUN_DIR
}

# Prints the profile's directory where one is mounted that the browser can write.
mounted_profile() {
  grep -q " $PROFILE_DIR " /proc/self/mountinfo || return 0
  if [ -w "$PROFILE_DIR" ]; then
    printf '%s\n' "$PROFILE_DIR"
  else
    log "warning: $PROFILE_DIR is mounted, but uid $(id -u) cannot write it: the browser keeps nothing" >&2
  fi
}

json_list() {
  local IFS=, item out=
  for item in $1; do
    [ -z "$item" ] || out+="${out:+, }\"$item\""
  done
  printf '[%s]' "$out"
}

# There is no window manager, so the window is made as large as the screen. With a
# profile all MCP clients share its one browser: two browsers would destroy it.
# outputMaxSize: page snapshots and downloads pile up in memory (tmpfs) otherwise.
write_mcp_config() {
  local profile browser='"isolated": true'
  profile=$(mounted_profile)
  if [ -n "$profile" ]; then
    browser="\"userDataDir\": \"$profile\""
    log "keeping the browser's profile in $profile"
  fi
  export BROWSER_PROFILE=$profile
  cat > "$RUN_DIR/mcp.json" <<JSON
{
  "browser": {
    "browserName": "chromium",
    $browser,
    "launchOptions": {
      "headless": false,
      "chromiumSandbox": false,
      "executablePath": "/usr/lib/chromium/chromium",
      "args": ["--window-position=0,0", "--window-size=$SCREEN_WIDTH,$SCREEN_HEIGHT", "--no-first-run"]
    }
  },
  "sharedBrowserContext": $([ -n "$profile" ] && echo true || echo false),
  "server": {
    "host": "0.0.0.0",
    "port": 8080,
    "allowedHosts": $(json_list "$MCP_ALLOWED_HOSTS,$LOCAL_HOSTS")
  },
  "outputDir": "$WORK_DIR",
  "outputMaxSize": 33554432,
  "timeouts": { "idle": $((MCP_IDLE_TIMEOUT_SECS * 1000)) }
}
JSON
}

main() {
  check_settings
  check_passwords
  [ "$problems" -eq 0 ] || exit 64
  clear_leftovers
  make_directories
  write_mcp_config
  [ $# -eq 0 ] || printf '%s\0' "$@" > "$RUN_DIR/mcp.args"
  # No bus and no accessibility bridge: without these Chromium and GTK look for both.
  export DBUS_SESSION_BUS_ADDRESS=disabled: NO_AT_BRIDGE=1 GTK_A11Y=none
  exec /opt/mcp/supervise.py
}

main "$@"
