#!/bin/bash
# x11vnc, once the X server listens. It gets the first line of each password's file in
# a file that is unlinked before x11vnc starts: none on its command line, none in its
# environment, and no name for another to open. (x11vnc cannot read it from a pipe.)
set -euo pipefail
umask 077
# The protocol counts bytes, 8 of them.
LC_ALL=C

for ((tries = 0; tries < 200; tries++)); do
  [ -S "/tmp/.X11-unix/X${DISPLAY#:}" ] && break
  sleep 0.05
done

copy=$(mktemp /tmp/run/x11vnc.XXXXXX)
password_of() { # FILE
  local password
  IFS= read -r password < "$1" || [ -n "$password" ]
  printf '%s\n' "${password:0:8}"
}
password_of "$VNC_PASSWORD_FILE" > "$copy"
if [ -e "$VNC_VIEW_PASSWORD_FILE" ]; then
  { echo __BEGIN_VIEWONLY__; password_of "$VNC_VIEW_PASSWORD_FILE"; } >> "$copy"
fi
exec 3< "$copy"
rm -f "$copy"

# -noremote, -nocmds: a page that took over the browser also reaches the X server,
# whose properties could otherwise reconfigure x11vnc.
# -noultraext: or a client that may look alone could have the whole screen's input grabbed.
exec x11vnc -display "$DISPLAY" -rfbport 5900 -no6 -desktop "$INSTANCE_ID" \
  -passwdfile /dev/fd/3 -forever -shared -noxrecord -noremote -nocmds -noultraext \
  -nolookup -q
