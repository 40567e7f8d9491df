"""A newcomer's five tasks, each in at most four clicks; and a server that is restarted meanwhile."""

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from sonomask.server.guard import Access
from sonomask.server.jobs import Runner
from sonomask.server.serve import application

MODEL = "avs_mini.synthetic"
MOST = 4
THREE = Path(__file__).parents[2] / "examples" / "three_things.mp4"


class Newcomer:
    """Counts what a person does with the mouse; a file chooser opens with a click."""

    def __init__(self, browser):
        self.browser, self.clicks = browser, 0

    def click(self, selector):
        self.browser.click(selector)
        self.clicks += 1

    def choose(self, path):
        self.browser.seen("#files").send_keys(str(path))
        self.browser.until("document.querySelector('#chosen li progress[hidden]')")
        self.clicks += 1


@pytest.fixture(scope="module")
def address(app, serve_app):
    with serve_app(app) as address:
        yield address


@pytest.fixture
def newcomer(browser, address):
    browser.go(address)
    browser.ready()
    person = Newcomer(browser)
    yield person
    assert 0 < person.clicks <= MOST


def mark(person, clip):
    person.choose(clip)
    person.click("#run")
    person.browser.until("location.pathname.startsWith('/job/')")
    person.browser.ready()


def test_mark_a_video(newcomer, clip):
    mark(newcomer, clip)
    assert newcomer.browser.painted() > 0


def test_see_who_sounds_when(newcomer, clip):
    mark(newcomer, clip)
    rows = [row.text for row in newcomer.browser.all(".lane.source label")]
    assert rows
    assert "heard 0:0" in newcomer.browser.text(".lane.source label")
    colours = newcomer.browser.script(
        "(() => { const c = document.querySelector('.lane.source canvas'); return new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size; })()"
    )
    assert colours > 2  # something is drawn in the row


def test_take_only_one_source(newcomer, clip):
    mark(newcomer, clip)
    newcomer.click(".lane.source .only")
    newcomer.click("[data-view=mask]")
    checked = newcomer.browser.script("document.querySelectorAll('.lane.source input:checked').length")
    assert checked == 1


def test_take_home_only_one_source(newcomer):
    browser = newcomer.browser
    mark(newcomer, THREE)
    whole = browser.chrome.current_url
    name = browser.text("#each button")
    newcomer.click("#each button")
    browser.until(f"location.pathname.startsWith('/job/') && location.href !== '{whole}'")
    browser.ready()
    assert name in browser.text("#name")
    assert len(browser.all(".lane.source")) == 1
    newcomer.clicks += 1
    kind = browser.chrome.execute_async_script(
        "fetch(arguments[0]).then((a) => arguments[1](a.headers.get('content-disposition')))",
        browser.seen("#files a").get_attribute("href"),
    )
    assert ".overlay.mp4" in kind


def test_take_home_some_sources(newcomer):
    browser = newcomer.browser
    mark(newcomer, THREE)
    whole, count = browser.chrome.current_url, len(browser.all(".lane.source"))
    assert not browser.seen("#ticked").is_enabled()  # that would be all of them
    newcomer.click(".lane.source input")
    newcomer.click("#ticked")
    browser.until(f"location.pathname.startsWith('/job/') && location.href !== '{whole}'")
    browser.ready()
    assert 1 <= len(browser.all(".lane.source")) < count


def test_download_for_an_editor(newcomer, clip):
    newcomer.click("#format-alpha-mov")
    mark(newcomer, clip)
    link = next(a for a in newcomer.browser.all("#files a") if a.get_attribute("href").endswith("/alpha-mov"))
    kind = newcomer.browser.chrome.execute_async_script(
        "fetch(arguments[0]).then((a) => arguments[1](a.headers.get('content-disposition')))",
        link.get_attribute("href"),
    )
    newcomer.clicks += 1
    assert ".alpha.mov" in kind


def test_come_back_tomorrow(newcomer, clip, address):
    mark(newcomer, clip)
    here = newcomer.browser.chrome.current_url
    newcomer.browser.go("about:blank")
    newcomer.browser.go(address)
    newcomer.browser.ready()
    newcomer.browser.until("document.querySelector('#list .job[data-state=done] a')")
    newcomer.click("#list .job a")
    newcomer.browser.until(f"location.href === '{here}'")
    newcomer.browser.ready()


def endless(job):
    while True:
        job.report(1, 10)
        time.sleep(0.02)


def quick(job):
    """Gives what the job's page and its player ask for."""
    view = job.folder / "view"
    view.mkdir()
    strips = {"width": 8, "height": 8, "rows": 25, "strips": 0}
    about = {"width": 8, "height": 8, "fps": 1, "threshold": 0.5, "duration": 1, "times": [], "presence": None, "heard": None,
             "sound": None, "attention": False, "sources": [], "map": strips}  # fmt: skip
    (view / "view.json").write_text(json.dumps(about))
    job.files["overlay"] = job.folder / "result.overlay.mp4"
    job.files["overlay"].write_bytes(b"a video")


def test_results_that_are_kept_are_there_after_a_restart(browser, clip, serve_app, tmp_path):
    access = Access(("127.0.0.1",))
    with Runner(quick, tmp_path, keeps=True) as before, serve_app(application(before, {MODEL: ""}, access)) as address:
        browser.go(address)
        browser.ready()
        assert "after the server was restarted" in browser.text("#none")
        Newcomer(browser).choose(clip)
        browser.click("#run")
        browser.ready()
        browser.until("document.body.dataset.state === 'done'")
        here = browser.chrome.current_url
        browser.go(address)
        browser.until("document.querySelector('#list .job[data-state=done] a')")
        port = int(address.rsplit(":", 1)[1].strip("/"))
    with Runner(quick, tmp_path, keeps=True) as after, serve_app(application(after, {MODEL: ""}, access), port=port):
        browser.until(f"document.body.dataset.boot === '{after.boot}'")  # the open page finds the new server by itself
        assert browser.text("#lost") == ""
        assert browser.script("document.querySelectorAll('#list .job[data-state=done]').length") == 1
        browser.click("#list .job a")
        browser.until(f"location.href === '{here}'")
        browser.until("document.body.dataset.state === 'done'")
        assert len(browser.all("#files a")) == 1


def test_a_restart_is_said(browser, clip, serve_app, tmp_path):
    access = Access(("127.0.0.1",))
    for number in (1, 2):
        (tmp_path / f"{number}").mkdir()
    with Runner(endless, tmp_path / "1") as before, serve_app(application(before, {MODEL: ""}, access)) as address:
        browser.go(address)
        browser.ready()
        Newcomer(browser).choose(clip)
        browser.click("#run")
        browser.until("document.getElementById('stage-text')?.textContent.startsWith('10 %')")
        port = int(address.rsplit(":", 1)[1].strip("/"))
    with Runner(endless, tmp_path / "2") as after, serve_app(application(after, {MODEL: ""}, access), port=port):
        browser.until("document.getElementById('trouble').textContent.includes('restarted')")
        assert browser.script("document.getElementById('progress').hidden")
