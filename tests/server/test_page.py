"""The pages in a real browser."""

import time

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

MODEL = "avs_mini.synthetic"


@pytest.fixture(scope="module")
def address(app, serve_app):
    with serve_app(app) as address:
        yield address


@pytest.fixture(scope="module")
def home(browser, address):
    """The first page, ready."""

    def go():
        browser.go(address)
        browser.ready()
        return browser

    return go


@pytest.fixture(scope="module")
def result(home, clip):
    """The page of a finished job, and its address."""
    browser = home()
    choose(browser, clip)
    browser.click("#format-masks")
    browser.click("#run")
    browser.until("location.pathname.startsWith('/job/')")
    browser.ready()
    return browser, browser.chrome.current_url


@pytest.fixture
def player(result):
    """The player, at the beginning, with everything shown."""
    browser, address = result
    browser.go(address)
    browser.ready()
    return browser


def choose(browser, *paths):
    browser.seen("#files").send_keys("\n".join(map(str, paths)))
    browser.until(f"document.querySelectorAll('#chosen li progress[hidden]').length >= {len(paths)}")


def now(browser):
    return browser.script("document.getElementById('video').currentTime")


def at(browser, seconds):
    browser.script("document.getElementById('video').currentTime = arguments[0]", seconds)
    browser.until(f"Math.abs(document.getElementById('video').currentTime - {seconds}) < 0.01")


# ---- the trip -------------------------------------------------------------------------------------------------------


def test_the_overlay_plays_with_sound(player):
    player.click("#play")
    player.until("document.getElementById('video').currentTime > 1")
    assert player.script("document.getElementById('video').webkitAudioDecodedByteCount") > 0
    assert player.script("Number(document.body.dataset.frame)") > 0


def test_the_result_is_in_sight(player):
    assert player.script("document.getElementById('stage').getBoundingClientRect().top") < 300


def test_a_reload_the_back_button_and_a_closed_tab_lose_nothing(player, home):
    here = player.chrome.current_url
    player.chrome.refresh()
    player.ready()
    home()
    player.chrome.back()
    player.until(f"location.href === '{here}'")
    player.ready()
    player.chrome.switch_to.new_window("tab")
    home()
    player.until("document.querySelector('#list a')")
    links = [link.get_attribute("href") for link in player.all("#list a")]
    player.chrome.close()
    player.chrome.switch_to.window(player.chrome.window_handles[0])
    assert here in links


@pytest.mark.usefixtures("result")
def test_my_videos_lead_back_to_the_result(home):
    browser = home()
    browser.until("document.querySelector('#list .job[data-state=done] a')")
    browser.click("#list .job[data-state=done] a")
    browser.ready()
    assert browser.painted() > 0


def test_every_format_and_all_of_them_can_be_downloaded(player):
    links = {link.text: link.get_attribute("href") for link in player.all("#files a")}
    assert len(links) == 3
    for link in links.values():
        status = player.chrome.execute_async_script(
            "fetch(arguments[0]).then((a) => arguments[1]([a.status, a.headers.get('content-disposition')]))", link
        )
        assert status[0] == 200
        assert "attachment" in status[1]


def test_several_videos_are_dropped_and_run(home):
    browser = home()
    before = len(browser.all("#list li"))
    browser.script(
        """(async () => {
          const bytes = await (await fetch('static/three_things.mp4')).arrayBuffer();
          const transfer = new DataTransfer();
          for (const name of ['one.mp4', 'two.mp4']) transfer.items.add(new File([bytes], name));
          const drop = {dataTransfer: transfer, bubbles: true, cancelable: true};
          document.getElementById('drop').dispatchEvent(new DragEvent('drop', drop));
        })()"""
    )
    browser.until("document.querySelectorAll('#chosen li progress[hidden]').length === 2")
    for number in (1, 2):
        browser.script(f"document.getElementById('video-{number}-end').value = 1")
    browser.click("#run")
    browser.until(f"document.querySelectorAll('#list li').length === {before + 2}")
    browser.until("document.querySelectorAll('#list li[data-state=done]').length >= 2")
    assert browser.all("#chosen li") == []


def test_trim_is_start_and_end_of_the_request(home, clip, runner):
    browser = home()
    choose(browser, clip)
    browser.click("#chosen summary")
    browser.script("document.querySelector('[id$=-start]').value = 1")
    browser.script("document.querySelector('[id$=-end]').value = 2")
    browser.click("#run")
    browser.until("location.pathname.startsWith('/job/')")
    browser.ready()
    options = runner.job(browser.chrome.current_url.rsplit("/", 1)[1]).options
    assert (options.start, options.end) == (1, 2)
    assert browser.script("document.getElementById('video').duration") == pytest.approx(1.0, abs=0.2)


def test_a_recording_goes_the_same_way(home):
    browser = home()
    browser.click("#record")
    browser.until("!document.getElementById('recorder').hidden && document.getElementById('camera').videoWidth > 0")
    browser.click("#shoot")
    time.sleep(1.5)
    browser.click("#shoot")
    browser.until("document.querySelector('#chosen li progress[hidden]')")
    assert "recording." in browser.text("#chosen strong")


# ---- the player -----------------------------------------------------------------------------------------------------


def test_the_masks_can_be_hidden_and_faded(player):
    full = player.painted()
    player.script("(() => { const o = document.getElementById('opacity'); o.value = 0.1; o.oninput(); })()")
    faint = player.painted()
    player.click("#shown")
    assert player.painted() == 0
    player.click("#shown")
    assert 0 < faint < full


def test_the_views_differ_and_attention_is_off_where_a_model_has_none(player):
    sums = set()
    for view in ("overlay", "mask", "heat"):
        player.click(f"[data-view={view}]")
        sums.add(player.painted())
    assert len(sums) == 3
    assert not player.seen("[data-view=attention]").is_enabled()


def test_each_source_has_a_row_that_hides_it_or_leaves_it_alone(player):
    before, count = player.painted(), len(player.all(".lane.source"))
    assert count >= 1
    assert "heard" in player.text(".lane.source label")
    for box in player.all(".lane.source input"):
        box.click()
    hidden = player.painted()
    player.click(".lane.source .only")
    alone = player.script("document.querySelectorAll('.lane.source input:checked').length")
    assert hidden != before
    assert alone == 1


def test_the_time_line_scrubs(player):
    ruler = player.seen(".ruler")
    ActionChains(player.chrome).move_to_element(ruler).click().perform()
    player.until("Math.abs(document.getElementById('video').currentTime - 1.5) < 0.2")
    player.until("document.getElementById('clock').textContent.trim().startsWith('0:01.')")


def test_the_keyboard_plays_and_steps(player):
    def press(key):
        ActionChains(player.chrome).send_keys(key).perform()

    at(player, 0)
    press(".")
    player.until("document.getElementById('video').currentTime > 0.12")
    assert now(player) == pytest.approx(1.5 / 8, abs=0.01)
    press(",")
    player.until("document.getElementById('video').currentTime < 0.1")
    press(Keys.ARROW_RIGHT)
    player.until("document.getElementById('video').currentTime > 1")
    press(Keys.ARROW_LEFT)
    player.until("document.getElementById('video').currentTime < 0.3")
    press(" ")
    player.until("!document.getElementById('video').paused")
    press(" ")
    player.until("document.getElementById('video').paused")
    press("m")
    assert player.painted() == 0


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_without_a_video_it_says_what_to_do_beside_the_field(home):
    browser = home()
    browser.click("#run")
    browser.until("document.getElementById('error-upload').textContent.startsWith('Give a video first')")
    assert browser.script("document.activeElement.id") == "files"


def test_without_a_format_it_says_so_beside_the_formats(home, clip):
    browser = home()
    choose(browser, clip)
    browser.click("#format-overlay")
    browser.click("#run")
    assert browser.text("#error-formats") == "Tick at least one kind of file."


def test_what_is_no_video_is_told_beside_it(home, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    browser = home()
    choose(browser, broken)
    assert browser.text("#chosen .error").startswith("broken.mp4: can't be opened as a video")


def test_a_wrong_option_is_told_beside_its_field(home, clip):
    browser = home()
    choose(browser, clip)
    browser.script("document.querySelector('#rate').options[0].value = '1000'")
    browser.script("document.querySelector('#rate').selectedIndex = 0")
    browser.click("#run")
    browser.until("document.getElementById('error-rate').textContent.includes('up to 120')")


def test_a_run_can_be_stopped(home, clip, runner, monkeypatch):
    def endless(job):
        while True:
            job.report(1, 10)
            time.sleep(0.01)

    monkeypatch.setattr(runner, "work", endless)
    browser = home()
    choose(browser, clip)
    browser.click("#run")
    browser.until("document.getElementById('stage-text')?.textContent.startsWith('10 %')")
    assert "left" in browser.text("#stage-text")
    browser.click("#stop")
    browser.until("document.body.dataset.state === 'cancelled'")


def test_why_a_job_failed_is_told_on_its_page(home, clip, runner, monkeypatch):
    def fail(_):
        raise ValueError("Nothing of it could be read.")

    monkeypatch.setattr(runner, "work", fail)
    browser = home()
    choose(browser, clip)
    browser.click("#run")
    browser.until("document.getElementById('trouble')?.textContent.includes('Nothing of it could be read.')")


def test_a_job_that_was_lost_in_a_restart_is_told_as_such(browser, address):
    browser.go(f"{address}job/00000000-abcdefghijklmnopqrstuv")
    browser.until("document.getElementById('trouble').textContent.includes('restarted')")


# ---- everywhere -----------------------------------------------------------------------------------------------------


def test_no_request_leaves_the_server_and_nothing_is_refused_by_the_policy(result, home, address):
    browser, job = result
    browser.requests()
    browser.complaints()
    home()
    browser.click("#example")
    browser.until("document.querySelector('#chosen li progress[hidden]')")
    browser.go(job)
    browser.ready()
    browser.painted()
    asked = [url for url in browser.requests() if not url.startswith(("blob:", "data:", "chrome"))]
    assert len(asked) > 10
    assert all(url.startswith(address) for url in asked)
    assert browser.complaints() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_the_screen(result, home, width, dark):
    browser, job = result
    with browser.themed(width=width, height=780, dark=dark):
        for go in (home, lambda: browser.go(job)):
            go()
            browser.ready()
            assert browser.script("document.documentElement.scrollWidth") <= width
