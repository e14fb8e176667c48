#!/bin/sh
# Builds the tiny test image (tests/tiny/tiny.rs) into the engine: build.sh TAG [INSTRUCTION…]
# With --program FILE it builds the program alone, and needs no engine.
# An instruction is one of a Dockerfile that says something about the image: HEALTHCHECK, ENV, VOLUME, LABEL.
# Does nothing when the engine has it already from the same source.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

# lld is not needed, and a static program needs no base image.
compile() { # FILE
    rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -C relocation-model=static \
        -o "$1" "$here/tiny.rs"
}

if [ "${1:-}" = --program ]; then
    compile "${2:?usage: build.sh --program FILE}"
    exit 0
fi

tag=${1:?usage: build.sh TAG [INSTRUCTION…]}
shift
digest=$({ cat "$here/tiny.rs" "$here/build.sh"; printf '%s\n' "$@"; } | sha256sum | cut -c1-16)
label=instanced.test.tiny

if built=$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$tag" 2>/dev/null) &&
    [ "$built" = "$digest" ]; then
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile "$work/tiny"

# One --change for each instruction.
count=$#
while [ "$count" -gt 0 ]; do
    instruction=$1
    shift
    set -- "$@" --change "$instruction"
    count=$((count - 1))
done
# An import is one layer and one call: no builder, no base, the same on every engine.
tar --create --owner=0 --group=0 --mtime=@0 --directory="$work" tiny |
    docker import \
        --change 'ENTRYPOINT ["/tiny"]' \
        --change 'EXPOSE 8080 5900 6080' \
        --change "LABEL $label=$digest" \
        "$@" - "$tag" >/dev/null
