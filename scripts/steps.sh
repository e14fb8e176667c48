# shellcheck shell=bash
# The steps of a long job, told to a person while they run: source it after lib.sh.
# It defines functions and nothing else.

# On a terminal a line is rewritten; elsewhere one is added now and then.
readonly STEP_TICK_SECS=1 STEP_NOTE_SECS=60 STEP_TAIL_LINES=25

bold() { if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m' "$*"; else printf '%s' "$*"; fi; }

# clear_line: of what a terminal shows while something is waited for.
clear_line() { [ ! -t 2 ] || printf '\r\033[K' >&2; }

say_ok() { printf '  ok %s\n' "$*" >&2; }

# show_tail LOG: what it ended with, indented.
show_tail() {
  [ -s "$1" ] || { printf '    (%s is empty)\n' "$1" >&2; return 0; }
  printf '    the last lines of %s:\n' "$1" >&2
  tail -n "$STEP_TAIL_LINES" "$1" | cut -c1-300 | sed 's/^/    | /' >&2
}

# Says how long a step has taken so far, until it is killed.
step_ticks() { # WHAT LOG
  local what=$1 log=$2 began=$SECONDS last
  while sleep "$STEP_TICK_SECS"; do
    if [ -t 2 ]; then
      last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\033' | cut -c1-$((${COLUMNS:-100} - ${#what} - 16)))
      printf '\r\033[K  …  %s, %d s  %s' "$what" $((SECONDS - began)) "$last" >&2
    elif (((SECONDS - began) % STEP_NOTE_SECS == 0)); then
      printf '  …  %s, %d s\n' "$what" $((SECONDS - began)) >&2
    fi
  done
}

# step WHAT LOG COMMAND...: runs COMMAND with its output in LOG, and says how long it took. When it fails, the
# end of LOG is shown and its status returned. COMMAND stays in the foreground, so that Ctrl-C and a question
# of sudo's reach it. It does not inherit descriptor 9, the lock.
step() {
  local what=$1 log=$2 began=$SECONDS status=0 ticks
  shift 2
  mkdir -p "$(dirname "$log")"
  : >"$log"
  step_ticks "$what" "$log" 9>&- &
  ticks=$!
  "$@" >"$log" 2>&1 </dev/null 9>&- || status=$?
  kill "$ticks" 2>/dev/null || true
  wait "$ticks" 2>/dev/null || true
  clear_line
  if [ "$status" -eq 0 ]; then
    say_ok "$what ($((SECONDS - began)) s)"
  else
    printf '  !! %s: failed after %d s\n' "$what" $((SECONDS - began)) >&2
    show_tail "$log"
  fi
  return "$status"
}
