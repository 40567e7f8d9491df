"""What is wrong is said on the page of a result: by pointer, by keyboard, and by a file."""

import json

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from sonomask.server.corrections import point_of


@pytest.fixture(scope="module")
def address(app, serve_app):
    with serve_app(app) as address:
        yield address


@pytest.fixture(scope="module")
def result(browser, address, clip):
    """The address of a finished job's page."""
    browser.go(address)
    browser.ready()
    browser.seen("#files").send_keys(str(clip))
    browser.until("document.querySelector('#chosen li progress[hidden]')")
    browser.click("#run")
    browser.until("location.pathname.startsWith('/job/')")
    browser.ready()
    return browser.chrome.current_url


@pytest.fixture
def correcting(browser, result):
    """The page of a result of which nothing is said."""
    browser.go(result)
    browser.ready()
    path = browser.script("location.pathname.replace('/job/', '/v1/jobs/') + '/corrections'")
    browser.chrome.execute_async_script("fetch(arguments[0], {method: 'DELETE'}).then(() => arguments[1]())", path)
    browser.chrome.refresh()
    browser.ready()
    return browser


def at(browser, seconds):
    browser.script("document.getElementById('video').currentTime = arguments[0]", seconds)
    browser.until(f"Math.abs(document.getElementById('video').currentTime - {seconds}) < 0.01")


def click_source(browser, runner):
    """Click the first source where and when it is largest."""
    job = runner.job(browser.script("location.pathname.split('/').pop()"))
    time, x, y = point_of(job, 1, None)
    at(browser, time)
    video = browser.seen("#video")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", video)
    width, height = (
        browser.script(f"arguments[0].getBoundingClientRect().{side}", video) for side in ("width", "height")
    )
    facts = json.loads((job.folder / "view" / "view.json").read_text(encoding="utf-8"))
    scale = min(width / facts["width"], height / facts["height"])
    across, down = (x - 0.5) * facts["width"] * scale, (y - 0.5) * facts["height"] * scale
    ActionChains(browser.chrome).move_to_element_with_offset(video, round(across), round(down)).click().perform()


def colours(browser):
    """How many colours the masks on the picture have."""
    browser.frame()
    return browser.script(
        "(() => { const c = document.getElementById('paint');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return new Set(new Uint32Array(d.buffer)).size; })()"
    )


def said(browser):
    return [item.text.removesuffix("Take back").strip() for item in browser.all("#said li")]


def test_a_thing_is_never_meant_by_two_clicks(correcting, runner):
    correcting.click("#pointing")
    click_source(correcting, runner)
    correcting.until("!document.getElementById('menu').hidden")
    assert correcting.script("document.activeElement.textContent") == "Only this one"
    (button,) = [one for one in correcting.all("#menu button") if one.text == "Never this one"]
    button.click()
    correcting.until("document.querySelectorAll('#said li').length === 1")
    assert said(correcting)[0].startswith("never ")
    assert len(correcting.all(".lane.never")) == 1
    correcting.chrome.refresh()
    correcting.ready()
    assert len(said(correcting)) == 1


def test_escape_leaves_it(correcting, runner):
    correcting.click("#pointing")
    click_source(correcting, runner)
    correcting.until("!document.getElementById('menu').hidden")
    ActionChains(correcting.chrome).send_keys(Keys.ESCAPE).perform()
    correcting.until("document.getElementById('menu').hidden")
    assert correcting.script("document.activeElement.id") == "pointing"
    assert said(correcting) == []


def test_without_pointing_a_click_plays(correcting, runner):
    click_source(correcting, runner)
    correcting.until("!document.getElementById('video').paused")
    assert not correcting.seen("#menu").is_displayed()


def test_seconds_that_are_dragged_over_are_wrong(correcting):
    correcting.click("#pointing")
    ruler = correcting.seen(".ruler")
    width = ruler.size["width"]
    ActionChains(correcting.chrome).move_to_element_with_offset(ruler, -width // 4, 0).click_and_hold().move_by_offset(
        width // 2, 0
    ).release().perform()
    correcting.until("!document.getElementById('menu').hidden")
    correcting.script("document.querySelector('#menu button').click()")
    correcting.until("document.querySelectorAll('#said li').length === 1")
    assert said(correcting)[0].endswith("nothing sounds")
    assert len(correcting.all(".ruler .wrong")) == 1
    at(correcting, 1.5)
    assert colours(correcting) <= 2  # what is beside the picture, and the rest of it
    correcting.click("#said button")
    correcting.until("document.querySelectorAll('#said li').length === 0")
    assert not correcting.all(".ruler .wrong")


def test_it_can_all_be_said_by_keyboard_and_taken_back(correcting):
    correcting.seen("#say-only").send_keys(Keys.ENTER)
    correcting.until("document.querySelectorAll('#said li').length === 1")
    correcting.seen("#to").clear()
    correcting.seen("#to").send_keys("1.5")
    correcting.seen("#say-other").send_keys(Keys.ENTER)
    correcting.until("document.querySelectorAll('#said li').length === 2")
    correcting.seen("#say-sounds").send_keys(Keys.ENTER)
    correcting.until("document.querySelectorAll('#said li').length === 3")
    texts = said(correcting)
    assert texts[0].startswith("only ")
    assert texts[1] == "0:00.0 to 0:01.5: something else sounds"
    assert texts[2].endswith("the place 50 % across, 50 % down sounds too")
    assert "Noted" in correcting.seen("#said-now").text
    correcting.all("#said button")[0].send_keys(Keys.ENTER)
    correcting.until("document.querySelectorAll('#said li').length === 2")
    correcting.seen("body").send_keys("c")
    correcting.until("document.getElementById('pointing').getAttribute('aria-pressed') === 'true'")


def test_what_is_not_possible_is_told_beside_it(correcting):
    correcting.seen("#to").clear()
    correcting.seen("#to").send_keys("0")
    correcting.click("#say-nothing")
    correcting.until("document.getElementById('error-correct').textContent.includes('expected more than the start')")


def test_the_file_is_downloaded_loaded_and_makes_the_files_again(correcting, tmp_path):
    correcting.click("#say-never")
    correcting.until("document.querySelectorAll('#said li').length === 1")
    text = correcting.chrome.execute_async_script(
        "fetch(arguments[0]).then((a) => a.text()).then(arguments[1])", correcting.seen("#keep").get_attribute("href")
    )
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    correcting.click("#said button")
    correcting.until("document.querySelectorAll('#said li').length === 0")
    correcting.seen("#load").send_keys(str(tmp_path / "c.json"))
    correcting.until("document.querySelectorAll('#said li').length === 1")
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    correcting.seen("#load").send_keys(str(tmp_path / "bad.json"))
    correcting.until("document.getElementById('error-correct').textContent.includes('no file of corrections')")
    here = correcting.chrome.current_url
    correcting.click("#again")
    correcting.until(f"location.href !== '{here}'")
    correcting.ready()
    assert "follow one correction" in correcting.seen("#notes").text
