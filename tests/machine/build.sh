#!/usr/bin/env bash
# Builds an emulated Debian 13 machine: systemd as PID 1, cgroup v2, AppArmor, Docker 26.1. A minute.
#   tests/machine/build.sh    prints the directory that has vmlinuz, initrd.img and disk.img
#
# The directory is a cache outside the repository: ${XDG_CACHE_HOME:-$HOME/.cache}/instanced/machine, or
# $INSTANCED_MACHINE_CACHE. A machine that this script built already is used again.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

readonly PACKAGES=systemd,systemd-sysv,dbus,udev,linux-image-cloud-amd64,iproute2,iptables,apparmor,docker.io,docker-cli,curl
readonly DISK_SIZE=3G
cache=${INSTANCED_MACHINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/instanced/machine}
digest=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
machine=$cache/$digest

# The archive that this machine uses itself.
mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } \
    | sed -nE 's/^URIs: *([^ ]+debian)\/? *$/\1/p; s/^deb (\[[^]]*\] )?([^ ]+debian)\/? .*/\2/p' | head -n 1
}

# A unit runs what is handed in: a tar on the second disk, whose run.sh writes to the second serial port.
add_handed_in_unit() { # ROOT
  cat > "$1/etc/systemd/system/handed-in.service" <<'UNIT'
[Unit]
After=docker.service
[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
ExecStart=/bin/sh -c 'rm -rf /run/handed-in; mkdir /run/handed-in; tar -xf /dev/vdb -C /run/handed-in; sh /run/handed-in/run.sh; echo "run.sh ended with $?"; systemctl poweroff'
[Install]
WantedBy=multi-user.target
UNIT
  chroot "$1" systemctl --quiet enable handed-in.service
}

# A smaller initial file system and fewer units: every second of an emulated processor is ten of a real one.
make_quick_to_boot() { # ROOT
  echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"
  printf '%s\n' virtio_pci virtio_blk ext4 >> "$1/etc/initramfs-tools/modules"
  chroot "$1" update-initramfs -u -k all >&2
  chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    fstrim.timer e2scrub_all.timer e2scrub_reap.service systemd-timesyncd.service systemd-networkd.service \
    systemd-networkd-wait-online.service getty@tty1.service serial-getty@ttyS0.service \
    systemd-random-seed.service systemd-pcrphase.service systemd-tpm2-setup.service
}

build() { # DIRECTORY
  local root=$1/root from
  from=$(mirror)
  [ -n "$from" ] || die "the sources of apt name no Debian archive"
  mmdebstrap --quiet --variant=minbase --include="$PACKAGES" \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    trixie "$root" "$from" >&2
  add_handed_in_unit "$root"
  make_quick_to_boot "$root"
  echo machine > "$root/etc/hostname"
  echo '/dev/vda / ext4 defaults,noatime 0 1' > "$root/etc/fstab"
  cp "$root"/boot/vmlinuz-* "$1/vmlinuz"
  cp "$root"/boot/initrd.img-* "$1/initrd.img"
  # It says that it makes a file even so, and what this script prints is a directory.
  mke2fs -q -t ext4 -d "$root" "$1/disk.img" "$DISK_SIZE" >&2
  rm -rf "$root"
}

main() {
  local new
  mkdir -p "$cache"
  exec 9> "$cache/.lock"
  flock 9
  if [ ! -e "$machine/disk.img" ]; then
    [ "$(id -u)" -eq 0 ] || die "building the machine needs root: it unpacks a Debian system"
    say "building an emulated Debian 13 machine in $machine (a minute)"
    # Earlier versions of the machine, and builds that were cut short.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
    new=$cache/new
    mkdir "$new"
    build "$new"
    mv "$new" "$machine"
  fi
  printf '%s\n' "$machine"
}

main
