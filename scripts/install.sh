#!/usr/bin/env bash
# `make install` and `make uninstall`: the program, its manual, completions and units, where systems look for them.
#   scripts/install.sh install|uninstall
#
# Environment, as packagers know it:
#   DESTDIR   goes before every path, and into no file
#   PREFIX    /usr/local
#   BINARY    the program, built already (target/release/instanced)
#   RUN       the same program for this machine, to write manual and completions, where BINARY is for another
#   BINDIR MANDIR DOCDIR BASHDIR ZSHDIR FISHDIR UNITDIR SYSUSERSDIR   where a system has its own places
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

binary=${BINARY:-$repo/target/release/instanced}
run=${RUN:-$binary}
destdir=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
bindir=${BINDIR:-$prefix/bin}
mandir=${MANDIR:-$prefix/share/man}
docdir=${DOCDIR:-$prefix/share/doc/instanced}
bashdir=${BASHDIR:-$prefix/share/bash-completion/completions}
zshdir=${ZSHDIR:-$prefix/share/zsh/site-functions}
fishdir=${FISHDIR:-$prefix/share/fish/vendor_completions.d}
unitdir=${UNITDIR:-$prefix/lib/systemd/system}
sysusersdir=${SYSUSERSDIR:-$prefix/lib/sysusers.d}

# put FILE PATH [MODE]: as `install` does, whatever the umask.
put() { install -D -m "${3:-644}" "$1" "$destdir$2"; }

install_all() {
  local made page name
  [ -x "$binary" ] || die "no program at $binary: build it first (make build), or name it with BINARY"
  made=$(mktemp -d)
  # shellcheck disable=SC2064 # the directory of now
  trap "rm -rf '$made'" EXIT
  "$run" man "$made/man"
  for name in bash zsh fish; do "$run" completions "$name" > "$made/$name"; done
  sed "s|^ExecStart=/usr/local/bin/instanced |ExecStart=$bindir/instanced |" \
    "$repo/examples/systemd/instanced.service" > "$made/service"

  put "$binary" "$bindir/instanced" 755
  for page in "$made"/man/*.1; do put "$page" "$mandir/man1/${page##*/}"; done
  put "$made/bash" "$bashdir/instanced"
  put "$made/zsh" "$zshdir/_instanced"
  put "$made/fish" "$fishdir/instanced.fish"
  put "$made/service" "$unitdir/instanced.service"
  put "$repo/examples/systemd/instanced.socket" "$unitdir/instanced.socket"
  put "$repo/examples/systemd/instanced.sysusers" "$sysusersdir/instanced.conf"
  put "$repo/examples/instanced.yaml" "$docdir/instanced.yaml"
  put "$repo/LICENSE" "$docdir/LICENSE"
  [ -n "$destdir" ] || say "next: systemd-sysusers, /etc/instanced/instanced.yaml (start from $docdir/instanced.yaml), systemctl daemon-reload"
}

# The state and what is in /etc stay.
uninstall_all() {
  rm -f "$destdir$bindir/instanced" "$destdir$mandir"/man1/instanced.1 "$destdir$mandir"/man1/instanced-*.1 \
    "$destdir$bashdir/instanced" "$destdir$zshdir/_instanced" "$destdir$fishdir/instanced.fish" \
    "$destdir$unitdir/instanced.service" "$destdir$unitdir/instanced.socket" "$destdir$sysusersdir/instanced.conf" \
    "$destdir$docdir/instanced.yaml" "$destdir$docdir/LICENSE"
  [ ! -d "$destdir$docdir" ] || rmdir --ignore-fail-on-non-empty "$destdir$docdir"
}

case ${1:-} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  *) die_usage "usage: install.sh install|uninstall" ;;
esac
