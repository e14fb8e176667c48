#!/usr/bin/env bash
# Starts a real Traefik with one of the layouts beside this file.
#
#   traefik/run.sh local|production [option VALUE]... [--render]
#
#   --http ADDR          where it listens: local 127.0.0.1:8088, production :80 (redirects)
#   --https ADDR         production only: :443
#   --api ADDR           API, /ping and dashboard: local 127.0.0.1:8089, production 127.0.0.1:8080
#   --docker ENDPOINT    the engine, unix:///var/run/docker.sock; `none` turns the Docker provider off
#   --manager NAME       serve this instanced's containers only, not every instanced's on the engine
#   --dynamic DIR        directory of dynamic configuration; default: the layout's own
#   --read-timeout T, --idle-timeout T   production only
#   --out FILE           where the rendered static configuration goes; default .run/traefik-LAYOUT.yaml
#   --render             write FILE, print its path, start nothing
#
# Traefik reads its static configuration from a file or from flags, never from both, so a value is rendered:
# a line of LAYOUT/traefik.yaml that ends in `# --option` gets the option's value.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

layout=${1-}
if [[ $layout != local && $layout != production ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 64
fi
shift

declare -A values=([dynamic]="$here/$layout/dynamic")
out=${INSTANCED_RUN:-$repo/.run}/traefik-$layout.yaml
docker=yes
render=
while (($#)); do
  option=$1
  [[ $option == --render ]] && { render=yes; shift; continue; }
  (($# > 1)) || die_usage "$option needs a value"
  value=$2
  shift 2
  case $option in
    --out) out=$value ;;
    --docker) if [[ $value == none ]]; then docker=; else values[docker]=$value; fi ;;
    --manager) values[manager]="Label(\`instanced.manager\`, \`$value\`)" ;;
    --dynamic) values[dynamic]=$(cd "$value" && pwd) ;;
    --http | --https | --api | --read-timeout | --idle-timeout) values[${option#--}]=$value ;;
    *) die_usage "unknown option '$option'" ;;
  esac
done

text=$(<"$here/$layout/traefik.yaml")
for option in "${!values[@]}"; do
  value=${values[$option]}
  [[ $value != *[\|\'\\$'\n']* ]] || die_usage "--$option: a value may hold no | ' \\ or newline"
  [[ $(grep -c -- " # --$option\$" <<<"$text") == 1 ]] || die_usage "the layout '$layout' has no --$option"
  # shellcheck disable=SC2001 # a pattern with a group
  text=$(sed "s|^\( *[a-zA-Z]*:\) .* # --$option\$|\1 '${value//&/\\&}'|" <<<"$text")
done
if ! [[ $docker ]]; then # drop the block `docker:` of the providers
  text=$(awk '/^  docker:$/ { skip = 1; next } /^  [^ #]/ || /^[^ #]/ { skip = 0 } !skip' <<<"$text")
fi

mkdir -p "$(dirname "$out")"
printf '%s\n' "$text" >"$out"
if [[ $render ]]; then
  printf '%s\n' "$out"
  exit 0
fi
traefik=$("$repo/scripts/tools.sh" --only traefik)
exec "$traefik" --configFile="$out"
