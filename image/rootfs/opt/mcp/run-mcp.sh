#!/bin/bash
# Playwright MCP. Whatever browser a killed predecessor left is ended first, and so
# are the locks that it holds on a kept profile: Chromium refuses a profile whose lock
# names another host, as it does after the container was made anew.
set -euo pipefail
readonly RUN_DIR=/tmp/run

for exe in /proc/[0-9]*/exe; do
  if [ "$(readlink "$exe" 2>/dev/null)" = /usr/lib/chromium/chromium ]; then
    pid=${exe#/proc/}
    kill -KILL "${pid%/exe}" 2>/dev/null || true
  fi
done
if [ -n "$BROWSER_PROFILE" ]; then
  rm -f "$BROWSER_PROFILE"/Singleton{Lock,Cookie,Socket}
fi

arguments=()
if [ -f "$RUN_DIR/mcp.args" ]; then
  mapfile -d '' -t arguments < "$RUN_DIR/mcp.args"
fi
# It pings a client that ever listened, and closes the session when no answer comes in time, whatever call is under
# way. A ping to a client whose listening stream is not open at that moment is lost without an error, so a client that
# merely lost that stream would lose its browser. 0 sends no pings; timeouts.idle closes the browsers of clients that
# are gone.
export PLAYWRIGHT_MCP_PING_TIMEOUT_MS=${PLAYWRIGHT_MCP_PING_TIMEOUT_MS:-0}
# Playwright MCP lets its tools reach the files below its working directory only.
cd /tmp/mcp
exec node --max-old-space-size=256 /opt/mcp/node_modules/@playwright/mcp/cli.js \
  --config "$RUN_DIR/mcp.json" "${arguments[@]}"
