"""The page in a real browser: Chromium without a window, driven by selenium."""

import json
import os
import shutil
import socket
import threading
import time

import pytest

pytest.importorskip("gradio", reason="the extra `demo` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
import uvicorn
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from sonomask.server.serve import application

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Gradio's and uvicorn's loops, closed with the process
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting:DeprecationWarning"),  # Gradio's use of pandas
]

MODEL = "avs_mini.synthetic"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
PATIENCE = 180  # seconds, on a busy machine
PLAYER, ALERT = "iframe.sonomask-player", "[role=alert]"


@pytest.fixture(scope="module")
def address(runner):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = application(runner, {MODEL: MODEL})
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:  # the browser is up already and would be refused
        assert thread.is_alive(), "the page's server did not start"
        assert time.monotonic() < deadline, "the page's server takes too long to start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(timeout=20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        tell = pytest.fail if os.environ.get("SONOMASK_REQUIRE_BROWSER") else pytest.skip
        tell("no Chromium with its driver here; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1200,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def seen(browser, selector):
    """The first element of that kind, once it is there."""
    return WebDriverWait(browser, PATIENCE).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))[0]


def script(browser, code):
    return browser.execute_script(f"return {code}")


def until(browser, code):
    WebDriverWait(browser, PATIENCE).until(lambda b: script(b, code))


def press(browser, selector):
    browser.execute_script("arguments[0].click()", seen(browser, selector))


def upload(browser, address, path):
    browser.get(address)
    seen(browser, "#video input[type=file]").send_keys(str(path))
    seen(browser, "#video video")


@pytest.fixture(scope="module")
def result(browser, address, clip):
    """The page after a run, the browser within the player."""
    upload(browser, address, clip)
    press(browser, "button#run")
    frame = seen(browser, PLAYER)
    browser.switch_to.frame(frame)
    until(browser, "document.body.dataset.ready")
    yield browser
    browser.switch_to.default_content()


def painted(browser):
    """The sum of the drawn mask's bytes."""
    return script(
        browser,
        "(() => { const c = document.getElementById('paint');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0); })()",
    )


def test_the_overlay_plays_with_sound(result):
    press(result, "#play")
    until(result, "document.getElementById('video').currentTime > 1")
    assert script(result, "document.getElementById('video').webkitAudioDecodedByteCount") > 0
    assert script(result, "Number(document.body.dataset.frame)") > 0


def test_the_timeline_scrubs(result):
    result.execute_script("document.getElementById('video').pause()")
    middle = "new PointerEvent('pointerdown', {clientX: t.clientWidth / 2, buttons: 1, pointerId: 1})"
    result.execute_script(
        f"const t = document.getElementById('timeline'); t.setPointerCapture = () => {{}}; t.dispatchEvent({middle})"
    )
    until(result, "Math.abs(document.getElementById('video').currentTime - 1.5) < 0.2")
    assert script(result, "document.getElementById('clock').textContent").startswith("0:01.")


def test_the_views_differ_and_attention_is_off_where_a_model_has_none(result):
    sums = {}
    for view in ("overlay", "mask", "heat"):
        press(result, f"[data-view={view}]")
        result.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        sums[view] = painted(result)
    press(result, "[data-view=overlay]")
    assert len(set(sums.values())) == 3
    assert not seen(result, "[data-view=attention]").is_enabled()


def test_pressing_a_source_hides_it(result):
    result.execute_script("document.getElementById('video').currentTime = about.times[0]")
    chip = seen(result, "#sources button")
    until(result, "state.frame === 0")
    before = painted(result)
    assert before > 0
    for button in result.find_elements(By.CSS_SELECTOR, "#sources button"):
        result.execute_script("arguments[0].click()", button)
    result.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert chip.get_attribute("aria-pressed") == "false"
    assert painted(result) != before
    assert script(result, "about.sources.every((source) => state.hidden.has(source.id))")


def test_a_result_can_be_downloaded(result, tmp_path):
    result.switch_to.default_content()
    result.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    press(result, "#files a")
    end = time.monotonic() + PATIENCE
    while not (found := list(tmp_path.glob("*.mp4"))) and time.monotonic() < end:
        time.sleep(0.05)
    assert found[0].name == "clip.overlay.mp4"
    assert found[0].read_bytes()[4:8] == b"ftyp"


def test_nothing_comes_from_elsewhere(result, address):
    events = [json.loads(entry["message"])["message"] for entry in result.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert any(url.startswith(address) for url in asked)
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome:"))] == []


def test_a_phone_needs_no_sideways_scrolling(result):
    result.switch_to.default_content()
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    result.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        until(result, "document.documentElement.scrollWidth <= 390")
        result.switch_to.frame(seen(result, PLAYER))
        until(
            result,
            "document.documentElement.scrollWidth <= innerWidth && document.getElementById('views').offsetWidth > 0",
        )
    finally:
        result.switch_to.default_content()
        result.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_a_video_it_says_what_to_do(browser, address):
    browser.get(address)
    press(browser, "button#run")
    assert seen(browser, ALERT).text.startswith("Give a video first")


def test_what_is_no_video_is_told_in_one_line(browser, address, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    upload(browser, address, broken)
    press(browser, "button#run")
    until(
        browser,
        "[...document.querySelectorAll('[role=alert]')].some((a) => a.textContent.includes('broken.mp4: can\\'t be'))",
    )


def test_a_run_can_be_stopped(browser, address, clip, runner, monkeypatch):
    def endless(job):
        while True:
            job.report(1, 10)
            time.sleep(0.01)

    monkeypatch.setattr(runner, "work", endless)
    upload(browser, address, clip)
    press(browser, "button#run")
    until(browser, "document.querySelector('#note').textContent.includes('10%')")
    press(browser, "button#stop")
    until(browser, "document.querySelector('#note').textContent.includes('Stopped')")


def test_the_page_fetches_no_address_that_a_request_names(address, runner):
    import httpx

    before = len(runner.jobs)
    path = {"path": "http://127.0.0.1:9/x.mp4", "meta": {"_type": "gradio.FileData"}}
    config = httpx.get(f"{address}config").json()
    number = next(d["id"] for d in config["dependencies"] if len(d["outputs"]) == 6)
    wish = {"data": [path, MODEL, "5", True, 0.5, ["overlay"]], "fn_index": number, "session_hash": "test"}
    assert httpx.post(f"{address}gradio_api/queue/join", json=wish).status_code == 200
    with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash=test", timeout=PATIENCE) as stream:
        last = [line for line in stream.iter_lines() if "process_completed" in line][-1]
    assert '"success":false' in last.replace(" ", "")
    assert len(runner.jobs) == before
