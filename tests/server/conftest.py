"""A small clip of the drawn world, a runner, its service, a real server on a free port, and a real browser."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time

import pytest

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.server.jobs import Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.work import Segment

MODEL = "avs_mini.synthetic"
VIDEO = {"Content-Type": "video/mp4"}
LIMITS = ServerLimits(bytes=2**20, seconds=20, queue=6, queue_client=4)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, scene(3, size=(96, 128), seconds=3), fps=8)
    return path


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with Runner(Segment({MODEL: MODEL}, "cpu"), tmp_path_factory.mktemp("server"), LIMITS) as runner:
        yield runner


@pytest.fixture(scope="module")
def app(runner):
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from sonomask.server.guard import Access
    from sonomask.server.serve import application

    return application(runner, {MODEL: "Drawn things."}, Access(("testserver", "localhost", "127.0.0.1")))


@pytest.fixture(scope="module")
def client(app):
    from fastapi.testclient import TestClient

    return TestClient(app)


@contextlib.contextmanager
def serving(app, limits=LIMITS, port=0, proxies=()):
    """The address of a server in a thread."""
    import uvicorn

    from sonomask.server.patience import patient

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, http=patient(limits, proxies), ws="none", log_level="warning", timeout_graceful_shutdown=1,
            server_header=False, proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        end = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server takes too long to start"
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            ending = getattr(app, "ending", None)
            if ending is not None:
                ending.set()
            server.should_exit = True
            thread.join(timeout=20)


@pytest.fixture(scope="session")
def serve_app():
    return serving


FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--window-size=1200,1000",
)  # fmt: skip
PATIENCE = 180  # seconds, on a busy machine


class Browser:
    """What the tests ask of a browser."""

    def __init__(self, profile):
        from selenium import webdriver

        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        driver = shutil.which("chromedriver")
        if chromium is None or driver is None:
            tell = pytest.fail if os.environ.get("SONOMASK_REQUIRE_BROWSER") else pytest.skip
            tell("no Chromium with its driver here; on Debian: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def go(self, address):
        """Open a page, and wait until its script is ready."""
        self.chrome.get(address)

    def wait(self, condition):
        """Wait until something is true; gives it."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.chrome, PATIENCE, poll_frequency=0.1).until(lambda _: condition())

    def ready(self):
        """Wait until the page's script says that it is ready."""
        self.until("document.body.dataset.ready")

    def all(self, selector):
        """All elements of that kind."""
        return self.chrome.find_elements("css selector", selector)

    def seen(self, selector):
        """The first element of that kind, once it is there."""
        return self.wait(lambda: self.all(selector))[0]

    def script(self, code, *given):
        """The value of an expression."""
        return self.chrome.execute_script(f"return {code}", *given)

    def until(self, code):
        """Wait until an expression is true."""
        self.wait(lambda: self.script(code))

    def text(self, selector):
        """What an element says."""
        return self.script("document.querySelector(arguments[0]).textContent", selector)

    def click(self, selector):
        """Press an element as a person would: in sight, and not covered."""
        element = self.seen(selector)
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def frame(self):
        """Wait until the next picture has been drawn."""
        self.chrome.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def painted(self):
        """The sum of the drawn masks' bytes."""
        self.frame()
        return self.script(
            "(() => { const c = document.getElementById('paint');"
            " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0); })()"
        )

    @contextlib.contextmanager
    def themed(self, *, width=1200, height=900, dark=False):
        """At another size, in other colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        try:
            self.frame()
            yield
        finally:
            self.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def requests(self):
        """Addresses that pages asked for since the last call."""
        found = []
        for entry in self.chrome.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def complaints(self):
        """What the browser complained about since the last call."""
        return [entry["message"] for entry in self.chrome.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.chrome.quit()
