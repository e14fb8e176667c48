# shellcheck shell=bash
# Shared by the project's shell scripts: source it, do not run it.
# It defines functions and nothing else; no side effects when sourced.

# One line per action, for a person. Standard error, so that a script's
# standard output stays free for a result.
say()  { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }
die()  { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# die_usage MESSAGE: 64 is the project's exit code for a wrong command line.
die_usage() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 64; }

have() { command -v "$1" >/dev/null 2>&1; }

# need_root WHAT: fails early, before anything was changed, where the root that
# WHAT needs cannot be had. as_root then runs a command with it.
need_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  have sudo || die "$1 needs root: run this as root, or install sudo"
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

# apt_install PACKAGE...: installs what is missing of these, after saying so.
apt_install() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] \
      || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  have apt-get || die "no apt-get here: install by hand what provides: ${missing[*]}"
  need_root "apt-get install ${missing[*]}"
  say "installing from Debian's packages: ${missing[*]}"
  apt_refresh "${missing[@]}"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null \
    || die "apt-get install failed: ${missing[*]}"
}

# apt_refresh PACKAGE...: runs 'apt-get update' when the package lists are
# absent, or know one of the packages not at all, or are older than a day (an old
# list names versions that the archive has since removed).
apt_refresh() {
  local lists=/var/lib/apt/lists
  if [ -n "$(find "$lists" -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ] \
    && apt-cache show "$@" >/dev/null 2>&1; then
    return 0
  fi
  say "refreshing the package lists (apt-get update)"
  as_root apt-get update -qq || die "apt-get update failed"
}

# docker_client: prints the docker client to use: $DOCKER, or the one on PATH.
docker_client() {
  local client=${DOCKER:-docker}
  have "$client" || die "no docker client '$client': set DOCKER, or run scripts/engine.sh ensure"
  printf '%s\n' "$client"
}

# engine_answers CLIENT: true when the engine behind DOCKER_HOST (or the default
# socket) answers within five seconds.
engine_answers() {
  timeout 5 "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1
}
