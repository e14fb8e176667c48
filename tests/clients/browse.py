"""A person with a real browser, who does what each line of stdin says and tells on a line of stdout what came of it.

    browse.py [--browser /usr/bin/chromium]

A line in is an object; `as` names a browser profile, which is empty at first and lasts until the end:

    {"do": "open", "as": "ann", "url": URL}              -> status, url (the address bar), title, text, met (the way there)
    {"do": "follow", "as": "ann", "from": URL, "url": U} -> the same, by a click on a link to `url` on the page at `from`
    {"do": "screen", "as": "ann"}                        -> state, said (noVNC's), width, height, colours, view_only
    {"do": "input", "as": "ann", "x": 0.5, "y": 0.5}     -> {}; moves, clicks and types on noVNC's screen
    {"do": "cookies", "as": "ann"}                       -> cookies, with all their flags
    {"do": "socket", "as": "ann", "from": URL, "to": WS} -> opened: a WebSocket that the page at `from` opens
    {"do": "picture", "as": "ann", "file": PNG}          -> {}; a screenshot of the page

What cannot be done is {"error": "..."}. It ends with its stdin. Chromium itself takes names under .localhost for
loopback, and for as safe as TLS.
"""

import argparse
import json
import sys

from playwright.sync_api import BrowserContext, Error, Page, sync_playwright

WAIT_MS = 20_000
# Nothing that speaks to the world by itself.
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
# noVNC keeps its state in the root element's class, and the screen in the only canvas of its container.
SCREEN = "#noVNC_container canvas"
STATE = """() => {
    const classes = [...document.documentElement.classList];
    const state = classes.find(name => /^noVNC_(connected|disconnected|connecting)$/.test(name));
    const canvas = document.querySelector('#noVNC_container canvas');
    const seen = { state: state ? state.slice(6) : 'none', width: 0, height: 0, colours: 0 };
    const status = document.getElementById('noVNC_status');
    seen.said = status ? status.textContent : '';
    const view = document.getElementById('noVNC_setting_view_only');
    seen.view_only = view ? view.checked : null;
    if (canvas && canvas.width > 0) {
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const colours = new Set();
        for (let at = 0; at < pixels.length; at += 4) {
            colours.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
        }
        Object.assign(seen, { width: canvas.width, height: canvas.height, colours: colours.size });
    }
    return seen;
}"""
FOLLOW = """url => {
    const link = document.createElement('a');
    link.href = url;
    document.body.append(link);
    link.click();
}"""
SOCKET = """url => new Promise(done => {
    const socket = new WebSocket(url, ['binary']);
    socket.onopen = () => { socket.close(); done(true); };
    socket.onerror = () => done(false);
})"""

class Profile:
    """A browser profile with one page, and what its last navigation met."""

    def __init__(self, context: BrowserContext):
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)

    def open(self, url: str, page: str | None = None) -> dict:
        met = []

        def note(response) -> None:
            if response.request.is_navigation_request():
                met.append({"status": response.status, "url": response.url})

        self.page.on("response", note)
        try:
            # From elsewhere: to go to the same address with another fragment loads nothing.
            self.page.goto(page or "about:blank", wait_until="load")
            met.clear()
            if page is None:
                response = self.page.goto(url, wait_until="load")
            else:
                with self.page.expect_navigation(wait_until="load") as navigation:
                    self.page.evaluate(FOLLOW, url)
                response = navigation.value
        finally:
            self.page.remove_listener("response", note)
        return {
            "status": response.status if response else 0,
            "url": self.page.url,
            "title": self.page.title(),
            "text": self.page.inner_text("body"),
            "met": met,
        }

    def screen(self) -> dict:
        # Its state says enough when it never comes about.
        try:
            self.page.wait_for_function(
                "document.documentElement.classList.contains('noVNC_connected')"
                " && document.querySelector('#noVNC_container canvas')?.width > 0"
            )
            # The first update of the screen follows.
            self.page.wait_for_timeout(1_000)
        except Error:
            pass
        return self.page.evaluate(STATE)

    def input(self, x: float, y: float) -> None:
        box = self.page.locator(SCREEN).bounding_box()
        assert box, "no screen"
        at = (box["x"] + x * box["width"], box["y"] + y * box["height"])
        self.page.mouse.move(box["x"] + 5, box["y"] + 5)
        self.page.mouse.move(*at, steps=5)
        self.page.mouse.click(*at)
        self.page.keyboard.type("a", delay=50)
        self.page.wait_for_timeout(500)


def perform(profile: Profile, step: dict) -> dict:
    match step["do"]:
        case "open":
            return profile.open(step["url"])
        case "follow":
            return profile.open(step["url"], step["from"])
        case "screen":
            return profile.screen()
        case "input":
            profile.input(step["x"], step["y"])
        case "cookies":
            return {"cookies": profile.context.cookies()}
        case "socket":
            profile.page.goto(step["from"], wait_until="load")
            return {"opened": profile.page.evaluate(SOCKET, step["to"])}
        case "picture":
            profile.page.screenshot(path=step["file"])
        case other:
            raise ValueError(f"no step {other!r}")
    return {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--browser", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        # Root has no sandbox, and what is opened here is ours.
        browser = playwright.chromium.launch(
            executable_path=arguments.browser, chromium_sandbox=False, args=QUIET
        )
        profiles: dict[str, Profile] = {}
        for line in sys.stdin:
            step = json.loads(line)
            try:
                name = step["as"]
                if name not in profiles:
                    context = browser.new_context(viewport={"width": 1300, "height": 760})
                    profiles[name] = Profile(context)
                came = perform(profiles[name], step)
            except (Error, AssertionError, LookupError, ValueError) as error:
                came = {"error": f"{step}: {error}"}
            print(json.dumps(came), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
