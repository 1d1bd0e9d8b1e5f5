"""The console and the documentation in a real browser: Chromium, headless, driven by the WebDriver protocol.

Needs chromium, chromedriver, redis-server and a built server; uses nothing but Python's own library. Every server listens
on a free loopback port or on a socket in a temporary directory, and ends with its test.

usage: tests/browser.py TOLLGATE [unittest's own arguments]
       tests/browser.py TOLLGATE --pictures DIRECTORY
"""

import base64
import contextlib
import itertools
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

PATIENCE_S = 30
PICTURED_S = 240
# Straight to the loopback interface, whatever proxy the environment names.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TOLLGATE = None


def eventually(what, ask):
    """What `ask` answers, as soon as that is true."""
    end = time.monotonic() + PATIENCE_S
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}; last answer {answer!r}")
        time.sleep(0.05)


class Process:
    """A program that ends with this value, and the lines it has written."""

    def __init__(self, command, environment, stack):
        self.directory = stack.enter_context(tempfile.TemporaryDirectory())
        self.log = pathlib.Path(self.directory, "log")
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(self.end)

    def says(self, pattern):
        """The first group of `pattern` in what it writes, once it is there."""
        def look():
            text = self.log.read_text(errors="replace")
            if self.child.poll() is not None:
                raise AssertionError(f"{self.child.args[0]} ended:\n{text}")
            return re.search(pattern, text)
        return eventually(f"{self.child.args[0]} says {pattern}", look).group(1)

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        # One that is stopped takes no other signal before this one.
        self.child.kill()
        self.child.wait()


class Tollgate(Process):
    def __init__(self, stack, listen="127.0.0.1:0", **settings):
        super().__init__([TOLLGATE], {"LISTEN": listen, **settings}, stack)
        self.url = self.says(r"(http://127\.0\.0\.1:\d+)")

    def post(self, path, value, **fields):
        body = json.dumps(value).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json", **fields})
        try:
            return DIRECT.open(request, timeout=PATIENCE_S).status
        except urllib.error.HTTPError as error:
            return error.code


class Redis(Process):
    def __init__(self, stack):
        super().__init__(
            ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", "", "--daemonize", "no"],
            {"PATH": os.environ["PATH"]}, stack)
        self.says("(ready to accept connections)")
        self.url = f"unix://{self.directory}/socket"


class Browser:
    """A window of Chromium, and everything it logs."""

    def __init__(self, stack):
        driver = Process([shutil.which("chromedriver") or "chromedriver", "--port=0"], dict(os.environ), stack)
        self.base = "http://127.0.0.1:" + driver.says(r"successfully on port (\d+)")
        self.session = ""
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                     "--hide-scrollbars", "--force-color-profile=srgb", "--window-size=1280,1000"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        capabilities = {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}
        self.session = "/session/" + self.call("POST", "/session", {"capabilities": capabilities})["sessionId"]
        stack.callback(self.call, "DELETE", "")

    def call(self, method, path, value=None):
        body = None if value is None else json.dumps(value).encode()
        url = self.base + (path if path == "/session" else self.session + path)
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        try:
            with DIRECT.open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from None

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, expression):
        return self.call("POST", "/execute/sync", {"script": f"return ({expression});", "args": []})

    def until(self, expression):
        return eventually(expression, lambda: self.js(expression))

    def element(self, css):
        found = eventually(f"there is {css}", lambda: self.call("POST", "/elements", {"using": "css selector", "value": css}))
        return "/element/" + next(iter(found[0].values()))

    def click(self, css):
        self.call("POST", self.element(css) + "/click", {})

    def type(self, css, text):
        self.call("POST", self.element(css) + "/value", {"text": text})

    def text(self, css):
        return self.js(f"document.querySelector({json.dumps(css)})?.textContent")

    def keys(self, *actions):
        keyboard = {"type": "key", "id": "keyboard", "actions": list(actions)}
        self.call("POST", "/actions", {"actions": [keyboard]})

    def size(self, width, height, mobile=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def theme(self, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def errors(self):
        """What the console has been told since it was last asked, less what is only the status of an answer."""
        entries = self.call("POST", "/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING") and e["source"] != "network"]

    def failed_loads(self):
        return [e["message"] for e in self.call("POST", "/se/log", {"type": "browser"}) if e["source"] == "network"]

    def requested(self):
        """The addresses that have been asked for since this was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.call("POST", "/se/log", {"type": "performance"})]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))


# The pieces of visible text whose contrast with what is behind them is below that of WCAG 2.2, level AA (4.5 to 1).
FAINT_TEXT = """(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (walker.nextNode()) {
    const [node, element] = [walker.currentNode, walker.currentNode.parentElement];
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    const [ink, behind] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))];
    const contrast = (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return faint;
})()"""


class InABrowser(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def tollgate(self, **settings):
        return Tollgate(self.stack, **settings)

    def console(self, server):
        browser = Browser(self.stack)
        browser.go(f"{server.url}/console")
        browser.until("document.querySelector('#state').textContent !== 'connecting'")
        return browser

    def assert_at_home(self, browser, server):
        requested = browser.requested()
        self.assertTrue(requested)
        strangers = [url for url in requested if not url.startswith(server.url + "/")]
        self.assertEqual(strangers, [])

    def test_the_console_loads_without_an_error_and_asks_no_other_host(self):
        server = self.tollgate()
        browser = self.console(server)
        browser.until("document.querySelector('#docs-link').checkVisibility()")
        self.assertEqual(browser.text("#state"), "ready")
        self.assertIn("embedded", browser.text("#fact-limiter"))
        self.assertIn("5 tokens", browser.text("#fact-limit"))
        self.assertEqual(browser.errors() + browser.failed_loads(), [])
        self.assert_at_home(browser, server)

    def test_the_root_shows_the_console(self):
        server = self.tollgate()
        browser = Browser(self.stack)
        browser.go(f"{server.url}/")
        browser.until("document.querySelector('#state').textContent === 'ready'")
        self.assertEqual(browser.errors(), [])

    def test_the_bucket_drains_refuses_and_refills(self):
        server = self.tollgate(RATE_LIMIT="3", REFILL_RATE="0.2")
        browser = self.console(server)
        self.assertEqual(browser.text("#tokens"), "?")
        for left in ("2", "1", "0"):
            browser.click("#take")
            browser.until(f"document.querySelector('#tokens').textContent === '{left}'")
            self.assertIn("200", browser.text("#outcome"))
        browser.click("#take")
        browser.until("document.querySelector('#outcome').textContent.startsWith('429')")
        fields = browser.text("#answer-fields")
        for field in ("X-RateLimit-Remaining0", "RateLimit-Policy\"protected-action\";q=3;w=15", "Retry-After", "X-Request-Id"):
            self.assertIn(field, fields)
        self.assertIn("quota-exceeded", browser.text("#answer-body"))
        self.assertRegex(browser.text("#next-token"), r"^in \d\.\d s$")
        browser.until("document.querySelector('#tokens').textContent === '1'")
        browser.click("#take")
        browser.until("document.querySelector('#outcome').textContent.startsWith('200')")
        self.assertEqual(browser.errors(), [])

    def test_the_bucket_can_be_hammered_from_the_keyboard(self):
        server = self.tollgate(RATE_LIMIT="100000", REFILL_RATE="0.001")
        browser = self.console(server)
        browser.js("document.querySelector('#take').focus()")
        browser.keys({"type": "keyDown", "value": " "}, {"type": "pause", "duration": 1500}, {"type": "keyUp", "value": " "})
        taken = eventually("several actions", lambda: browser.js("document.querySelectorAll('#tape li').length"))
        self.assertGreater(taken, 3)
        # Every press is one action: a keyboard's click is not a second one.
        browser.keys({"type": "keyDown", "value": "\ue007"}, {"type": "keyUp", "value": "\ue007"})
        browser.until(f"document.querySelectorAll('#tape li').length === {taken + 1}")

    def test_charts_move_with_the_load(self):
        server = self.tollgate(RATE_LIMIT="5", REFILL_RATE="0.001")
        browser = self.console(server)
        line = "document.querySelector('#chart-decisions .line.series-2').getAttribute('d')"
        before = browser.js(line)
        def denied():
            server.post("/api/protected-action", {})
            return browser.js("Number(document.querySelector('#chart-decisions .legend .series-2 b').textContent) > 0")
        eventually("denials per second are shown", denied)
        self.assertNotEqual(browser.js(line), before)
        browser.until("/(µs|ms)$/.test(document.querySelector('#chart-latency .legend b').textContent)")
        browser.until("/MB$/.test(document.querySelector('#chart-memory .legend b').textContent)")
        browser.js("""document.querySelector('#chart-memory .plot')
            .dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: 0 }))""")
        browser.until("/^\\d+ s ago$/.test(document.querySelector('#chart-decisions .axis span:nth-child(2)').textContent)")
        browser.until("Number(document.querySelector('#decisions tr:nth-child(2) td:last-child').textContent) > 0")
        self.assertEqual(browser.errors(), [])

    def test_a_redis_that_stops_is_shown_and_so_is_its_return(self):
        redis = Redis(self.stack)
        server = self.tollgate(REDIS_URL=redis.url)
        browser = self.console(server)
        browser.until("document.querySelector('#fact-redis').textContent.startsWith('up')")
        self.assertEqual(browser.js("document.querySelector('#state').dataset.state"), "ready")
        redis.signal(signal.SIGSTOP)
        browser.until("document.querySelector('#state').dataset.state === 'degraded'")
        browser.until("document.querySelector('#fact-redis').textContent.startsWith('down')")
        browser.until("document.querySelector('#fact-breaker').textContent.startsWith('open')")
        browser.until("document.querySelector('#trouble .is-hot')")
        redis.signal(signal.SIGCONT)
        browser.until("document.querySelector('#state').dataset.state === 'ready'")
        browser.until("document.querySelector('#fact-breaker').textContent.startsWith('closed')")
        self.assertEqual(browser.errors(), [])

    def test_a_server_that_is_gone_is_said_to_be_and_its_return_is_noticed(self):
        server = self.tollgate()
        browser = self.console(server)
        browser.click("#take")
        browser.until("document.querySelector('#tokens').textContent === '4'")
        server.end()
        browser.until("document.querySelector('#gone').checkVisibility()")
        self.assertIn("has not answered", browser.text("#gone"))
        self.assertEqual(browser.text("#state"), "no answer")
        self.tollgate(listen=server.url.removeprefix("http://"))
        browser.until("!document.querySelector('#gone').checkVisibility()")
        self.assertEqual(browser.text("#state"), "ready")
        # The buckets were in the memory of the one that is gone.
        self.assertEqual(browser.text("#tokens"), "?")
        self.assertEqual(browser.errors(), [])

    def test_products_are_created_listed_and_deleted_and_errors_stand_at_their_fields(self):
        server = self.tollgate()
        for number in range(25):
            server.post("/api/products", {"name": f"Product {number}", "description": "-", "price": 1})
        browser = self.console(server)
        browser.until("document.querySelectorAll('#products tbody tr').length === 20")
        browser.click("#more-products")
        browser.until("document.querySelectorAll('#products tbody tr').length === 25")
        browser.type("input[name=name]", "<b>Kettle</b>")
        browser.type("input[name=price]", "cheap")
        browser.click("#product-form button")
        browser.until("document.querySelector('#error-price').textContent.includes('unable to parse string as a number')")
        self.assertIn("Field required", browser.text("#error-description"))
        self.assertEqual(browser.text("#error-name"), "")
        self.assertEqual(browser.js("document.activeElement.name"), "description")
        browser.type("input[name=description]", "Boils")
        browser.js("document.querySelector('input[name=price]').value = '49.90'")
        browser.click("#product-form button")
        browser.until("document.querySelectorAll('#products tbody tr').length === 25 + 1 || document.querySelector('#more-products').checkVisibility()")
        self.assertEqual(browser.text(".error"), "")
        browser.until("document.querySelector('#product-count').textContent === '26 stored'")
        browser.js("document.querySelector('#more-products').click()")
        last = "document.querySelector('#products tbody tr:last-child').textContent"
        browser.until(f"{last}.includes('<b>Kettle</b>') && {last}.includes('49.9')")
        browser.js("document.querySelector('#products tbody tr:last-child button').click()")
        browser.until("document.querySelector('#product-message').textContent === 'Deleted <b>Kettle</b>'")
        browser.until("document.querySelector('#product-count').textContent === '25 stored'")
        self.assertEqual(browser.errors(), [])

    def test_text_is_readable_in_light_and_dark(self):
        redis = Redis(self.stack)
        server = self.tollgate(REDIS_URL=redis.url, RATE_LIMIT="1")
        browser = self.console(server)
        for _ in range(2):
            browser.click("#take")
        browser.click("#product-form button")
        browser.until("document.querySelector('#error-name').textContent")
        redis.signal(signal.SIGSTOP)
        browser.until("document.querySelector('#trouble .is-hot')")
        for scheme in ("light", "dark"):
            browser.theme(scheme)
            browser.until(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
            self.assertEqual(browser.js(FAINT_TEXT), [], scheme)

    def test_the_console_fits_a_phone(self):
        server = self.tollgate()
        browser = self.console(server)
        browser.size(360, 740, mobile=True)
        browser.until("innerWidth === 360")
        self.assertLessEqual(browser.js("document.documentElement.scrollWidth"), 360)

    def test_what_is_hidden_asks_nothing(self):
        server = self.tollgate()
        browser = self.console(server)
        browser.js("(() => { Object.defineProperty(document, 'hidden', { get: () => true }); })()")
        browser.js("document.dispatchEvent(new Event('visibilitychange'))")
        time.sleep(0.5)
        browser.requested()
        time.sleep(3)
        self.assertEqual(browser.requested(), [])

    def test_the_documentation_loads_without_an_error_and_trying_it_out_creates_a_product(self):
        server = self.tollgate()
        browser = Browser(self.stack)
        browser.go(f"{server.url}/docs")
        browser.until("document.querySelector('#docs .info .title')?.textContent.startsWith('Tollgate')")
        self.assertEqual(browser.js("document.querySelectorAll('.opblock-options, .opblock-head').length"), 0)
        browser.click("#operations-Products-createProduct .opblock-summary-control")
        browser.until("document.querySelector('#operations-Products-createProduct textarea')?.value.includes('Coffee beans')")
        nameless = "[...document.querySelectorAll('.parameter__name')].filter((name) => !name.textContent.trim()).length"
        self.assertEqual(browser.js(nameless), 0)
        browser.click("#operations-Products-createProduct .execute")
        status = "document.querySelector('#operations-Products-createProduct .live-responses-table .response .response-col_status')"
        browser.until(f"{status}?.textContent.startsWith('201')")
        self.assertEqual(browser.errors() + browser.failed_loads(), [])
        self.assert_at_home(browser, server)

    def test_the_documentation_follows_the_theme(self):
        server = self.tollgate()
        browser = Browser(self.stack)
        browser.go(f"{server.url}/docs")
        for scheme, is_dark in (("dark", True), ("light", False)):
            browser.theme(scheme)
            browser.until(f"document.documentElement.classList.contains('dark-mode') === {json.dumps(is_dark)}")


def keep_busy(server, until):
    """A tide of clients who take a token each, and somebody who creates products and sometimes gets it wrong."""
    begun = time.monotonic()
    for turn in itertools.count():
        elapsed = time.monotonic() - begun
        if until(elapsed):
            return
        for _ in range(round(6 + 5 * math.sin(elapsed / 12) + 2 * math.sin(elapsed / 3))):
            server.post("/api/protected-action", {}, **{"X-Forwarded-For": f"10.0.0.{random.randrange(24)}"})
        if turn % 30 == 0:
            server.post("/api/products", {} if turn % 90 == 0 else {"name": "Spoon", "description": "Stirs", "price": 1})
        time.sleep(0.3)


def take_pictures(directory):
    """The pictures of the README: both pages of a server that has had something to do."""
    with contextlib.ExitStack() as stack:
        redis = Redis(stack)
        server = Tollgate(stack, REDIS_URL=redis.url, TRUSTED_PROXIES="127.0.0.1", REFILL_RATE="0.5")
        browser = Browser(stack)
        browser.size(1280, 900)
        browser.go(f"{server.url}/console")
        browser.until("document.querySelector('#state').textContent === 'ready'")
        keep_busy(server, lambda elapsed: elapsed > PICTURED_S)
        browser.js("document.querySelector('#take').focus()")
        browser.keys({"type": "keyDown", "value": " "}, {"type": "pause", "duration": 1000}, {"type": "keyUp", "value": " "})
        browser.js("document.activeElement.blur()")
        keep_busy(server, lambda elapsed: elapsed > 4)
        browser.picture(directory / "console.png")
        browser.go(f"{server.url}/docs")
        browser.until("document.querySelector('#operations-Products-createProduct')")
        browser.picture(directory / "docs.png")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    TOLLGATE = str(pathlib.Path(arguments.pop(0)).resolve())
    if arguments[:1] == ["--pictures"]:
        take_pictures(pathlib.Path(arguments[1]).resolve())
    else:
        unittest.main(argv=[sys.argv[0], *arguments], verbosity=2)
