#!/bin/bash
# Xvfb, with the locks of a predecessor that was killed cleared away.
# GLX is off: nothing here uses it, and it costs memory.
set -euo pipefail
number=${DISPLAY#:}
rm -f "/tmp/.X$number-lock" "/tmp/.X11-unix/X$number"
exec Xvfb "$DISPLAY" -screen 0 "${SCREEN_WIDTH}x${SCREEN_HEIGHT}x${COLOR_DEPTH}" \
  -nolisten tcp -noreset -dpi 96 -extension GLX
