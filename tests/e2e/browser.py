"""A real Chromium before the live page, and everything that it complains about."""

from contextlib import contextmanager

from helpers import tool
from playwright.sync_api import sync_playwright

# Without these, Chromium asks for updates and other hosts, which a test must not.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-device-scale-factor=1"
).split()


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium"), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class LivePage:
    """The page of one sidecar in one window. Whatever the console says is in `complaints`."""

    def __init__(self, browser, url, route=None, **context):
        self.context = browser.new_context(
            **({"viewport": {"width": 1200, "height": 900}} | context)
        )
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        if route:
            self.page.route("**/metrics", route)
        self.page.goto(url)

    def text(self, selector):
        return self.page.inner_text(selector)

    def wait_for(self, condition, argument=None, timeout=10000):
        """Waits until a JavaScript expression is true."""
        self.page.wait_for_function(condition, arg=argument, timeout=timeout, polling=50)

    def wait_for_text(self, selector, text):
        self.wait_for(
            "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)",
            [selector, text],
        )

    def rows(self):
        """{(method, path): [rate, errors, p50, p95, p99, total]} as they are shown."""
        rows = self.page.eval_on_selector_all(
            "#rows tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        return {(row[0], row[1]): row[2:8] for row in rows}

    def order(self):
        return [path for (_, path) in self.rows()]

    def overflow(self):
        """How many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
