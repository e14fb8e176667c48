#!/bin/bash
# Says which of the four programs does not answer; exit 1 if any. Leaves no trace: no
# MCP session, no browser, no VNC client. Takes up to 4 seconds when two of them hang.
set -uo pipefail
missing=()

# A GET without a session id is refused with 400 by a server that is well.
check_mcp() {
  local status=
  exec 3<>/dev/tcp/127.0.0.1/8080 || return 1
  printf 'GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n' >&3
  IFS= read -r -t 2 status <&3
  [[ $status == "HTTP/1.1 400"* ]]
}

# An answer of the X server, not merely its socket.
check_xvfb() { timeout 2 xprop -root _NET_SUPPORTED; }

# listening PORT: read from the kernel, since a connection would be a VNC client.
listening() {
  local entry
  printf -v entry ':%04X 00000000:0000 0A' "$1"
  [[ $(</proc/net/tcp) == *"$entry"* ]]
}

check_mcp >/dev/null 2>&1 || missing+=("mcp (no answer on port 8080)")
check_xvfb >/dev/null 2>&1 || missing+=("xvfb (no answer on display $DISPLAY)")
listening 5900 || missing+=("x11vnc (nothing listens on port 5900)")
listening 6080 || missing+=("websockify (nothing listens on port 6080)")

[ "${#missing[@]}" -gt 0 ] || exit 0
printf 'missing: %s\n' "${missing[@]}"
exit 1
