#!/usr/bin/python3
"""websockify, but for one header: browsers ask for noVNC's page anew each time.

Its server names no lifetime, so that browsers make one up: weeks, for files as old as a
package's. Whose session at the edge has ended would then see noVNC fail, out of the
cache, and not the edge's page that says what to do.
"""

from websockify import websocketproxy


class Handler(websocketproxy.ProxyRequestHandler):
    def end_headers(self):
        # There is no path where the request could not be read.
        page = getattr(self, "path", "").split("?")[0]
        if page.endswith((".html", "/")):
            self.send_header("Cache-Control", "no-cache")
        super().end_headers()


class Proxy(websocketproxy.WebSocketProxy):
    def __init__(self, **options):
        super().__init__(Handler, **options)


websocketproxy.WebSocketProxy = Proxy
websocketproxy.websockify_init()
