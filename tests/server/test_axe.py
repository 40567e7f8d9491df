"""The pages hold to the rules of axe-core: in light and dark, at desktop and phone width.

SONOMASK_AXE names axe.min.js of the npm package axe-core; `.ci/run` installs the version that it pins.
"""

import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

THEMES = [
    pytest.param({"width": width, "height": 800, "dark": dark}, id=f"{width}-{'dark' if dark else 'light'}")
    for width in (360, 1200)
    for dark in (False, True)
]


@pytest.fixture(scope="module")
def axe():
    place = os.environ.get("SONOMASK_AXE")
    if place is None:
        tell = pytest.fail if os.environ.get("SONOMASK_REQUIRE_BROWSER") else pytest.skip
        tell("SONOMASK_AXE is not set: npm install axe-core, then name node_modules/axe-core/axe.min.js")
    return Path(place).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(app, serve_app):
    with serve_app(app) as address:
        yield address


@pytest.fixture(scope="module")
def job(browser, address, clip):
    """The address of a finished job's page."""
    browser.go(address)
    browser.ready()
    browser.seen("#files").send_keys(str(clip))
    browser.until("document.querySelector('#chosen li progress[hidden]')")
    browser.click("#run")
    browser.until("location.pathname.startsWith('/job/')")
    browser.ready()
    return browser.chrome.current_url


def violations(browser, axe):
    """What axe finds, a line each; the video of a player needs no captions: what it shows is who sounds."""
    browser.chrome.execute_script(axe)
    found = browser.chrome.execute_async_script(
        "axe.run(document, {rules: {'video-caption': {enabled: false}}}).then((r) => arguments[0](r.violations))"
    )
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:300]}" for rule in found for node in rule["nodes"]
    ]


def test_axe_finds_what_is_wrong(browser, axe, address):
    browser.go(address)
    browser.ready()
    browser.script("document.getElementById('run').style.setProperty('color', '#5f9ac4')")
    assert any(line.startswith("color-contrast") for line in violations(browser, axe))


@pytest.mark.parametrize("theme", THEMES)
def test_the_first_page_is_clean(browser, axe, address, clip, theme):
    with browser.themed(**theme):
        browser.go(address)
        browser.ready()
        browser.click("#run")  # an error is in sight
        browser.seen("#files").send_keys(str(clip))
        browser.until("document.querySelector('#chosen li progress[hidden]')")
        browser.script("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        assert violations(browser, axe) == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_result_is_clean(browser, axe, job, theme):
    with browser.themed(**theme):
        browser.go(job)
        browser.ready()
        assert violations(browser, axe) == []
        browser.click("[data-view=heat]")
        browser.click(".lane.source .only")
        assert violations(browser, axe) == []
        browser.click("#say-nothing")
        browser.click("#say-never")
        browser.until("document.querySelectorAll('#said li').length >= 2")
        browser.click("#pointing")
        browser.click("#video")
        browser.until("!document.getElementById('menu').hidden")
        assert violations(browser, axe) == []


@pytest.mark.parametrize("theme", THEMES)
def test_a_job_that_runs_or_is_lost_is_clean(browser, axe, address, job, runner, theme, monkeypatch):
    with browser.themed(**theme):
        browser.go(f"{address}job/00000000-lost")
        browser.until("!document.getElementById('trouble').hidden")
        assert violations(browser, axe) == []
        browser.go(job)
        browser.ready()
        browser.script("(() => { document.getElementById('progress').hidden = false; })()")
        assert violations(browser, axe) == []
    monkeypatch.undo()
    assert runner.busy == 0
