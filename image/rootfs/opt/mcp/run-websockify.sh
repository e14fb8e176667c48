#!/bin/bash
# noVNC's pages and the WebSocket that carries VNC. The heartbeat keeps a proxy from
# closing a quiet connection.
set -euo pipefail
exec python3 -W ignore /opt/mcp/serve-novnc.py --web /opt/novnc --heartbeat=30 \
  0.0.0.0:6080 127.0.0.1:5900
