"""The page in a real browser, Chromium, where there is one (Debian: apt install chromium)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import tone
from tests.pages import CHROMIUM, faults_of, needs_chromium
from tests.web.test_server import begin, end

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    process, address = begin(home / "model.onnx", "--no-unknown")
    yield address
    assert end(process) == (0, "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """With a microphone that hears a low tone."""
    from playwright.sync_api import sync_playwright

    heard = tmp_path_factory.mktemp("browser") / "microphone.wav"
    soundfile.write(heard, tone(300.0, 5.0), 16000)
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page; fails where a script fails or something foreign is asked."""
    wrong: list[str] = []
    context = browser.new_context(permissions=["microphone"])
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "blob:", "data:")) else wrong.append(asked.url),
    )
    page.goto(address)
    page.get_by_text("model.onnx tells 2 sounds apart: high, low").wait_for()
    yield page
    context.close()
    assert wrong == []


def test_files_are_answered_one_after_the_other(page: Any, home: Path, song: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<img src=x onerror=alert(1)>.wav"
    shutil.copy(home / "tones" / "low" / "low00.wav", odd)
    (tmp_path / "text.wav").write_text("no sound")
    page.set_input_files("#files", [odd, tmp_path / "text.wav", song])
    page.locator("#list button", has_text="song.wav").get_by_text("high").wait_for()
    rows = [row.split("\n") for row in page.locator("#list li button").all_inner_texts()]
    assert [[part for part in row if part] for row in rows] == [
        [odd.name, "low"],
        ["text.wav", "no answer"],
        ["song.wav", "high"],
    ]
    page.locator("#list button").nth(0).click()
    assert (page.inner_text("#label"), page.inner_text("#who")) == ("low", odd.name)
    bars = [bar.split("\n") for bar in page.locator(".bar").all_inner_texts()]
    assert [bar[0] for bar in bars] == ["low", "high"]
    assert sum(float(bar[-1].rstrip(" %")) for bar in bars) == pytest.approx(100, abs=1)
    assert page.locator("#time").is_hidden()
    page.locator("#list button").nth(1).click()
    assert "not readable as sound: text.wav" in page.inner_text("#note")


def answered(page: Any, name: str) -> None:
    page.locator("#list button", has_text=name).filter(has_not_text="…").filter(has_not_text="waiting").wait_for()
    page.locator("#busy:empty").wait_for(state="attached")


def test_everyone_can_read_the_page(page: Any, home: Path, song: Path, tmp_path: Path) -> None:
    assert faults_of(page) == []
    names = [f"{'long' * 40}.wav", "تسجيل (1).wav", "song.wav", "text.wav"]
    for name, source in zip(names, (*sorted((home / "tones" / "low").glob("*"))[:2], song), strict=False):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "text.wav").write_text("no sound")
    page.set_input_files("#files", [tmp_path / name for name in names])
    for name in names:
        answered(page, name)
        page.locator("#list button", has_text=name).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if name in {"song.wav", "text.wav"}:
            assert faults_of(page) == []
    page.locator("#player").wait_for(state="hidden")  # of text there is nothing to play


def test_answers_are_said_to_who_does_not_see_them(page: Any, home: Path, tmp_path: Path) -> None:
    low = sorted((home / "tones" / "low").glob("*"))[:2]
    (tmp_path / "text.wav").write_text("no sound")
    page.evaluate(
        """() => {
            window.spoken = [];
            const note = () => window.spoken.push($("aloud").textContent);
            new MutationObserver(note).observe($("aloud"), {childList: true});
        }"""
    )
    page.set_input_files("#files", [*low, tmp_path / "text.wav"])
    answered(page, "text.wav")
    said = page.evaluate("window.spoken")
    assert said[:2] == [f"{path.name}: low" for path in low]
    assert said[2].startswith("text.wav: no answer, not readable as sound: ")
    assert page.get_attribute("#aloud", "role") == "status"


def test_many_files_wait_in_their_order_and_the_page_tells_which_is_answered(page: Any, home: Path) -> None:
    files = sorted((home / "tones" / "low").glob("*"))
    held: list[Any] = []
    page.route("**/api/predict?*", lambda route: held.append(route))
    page.set_input_files("#files", files)
    page.get_by_text(f"1 of 12: answering {files[0].name} …").wait_for()
    rows = page.locator("#list li button").all_inner_texts()
    assert [row.split() for row in rows[:2]] == [[files[0].name, "…"], [files[1].name, "waiting"]]
    assert len(rows) == 12
    page.unroute("**/api/predict?*")  # lets go what was held
    answered(page, files[-1].name)


def test_what_the_page_hides_is_hidden(page: Any, song: Path) -> None:
    """Names beside the map, where labels are many."""
    page.set_input_files("#files", song)
    answered(page, "song.wav")
    field = page.locator("#field").bounding_box()
    assert page.locator("#names").bounding_box()["x"] < field["x"]
    assert page.locator("#axis").bounding_box()["x"] == pytest.approx(field["x"], abs=1)
    page.evaluate("$('names').hidden = true")
    assert page.locator("#names").is_hidden()


def test_a_refused_microphone_is_explained(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia =
            () => Promise.reject(new DOMException("Permission denied", "NotAllowedError")); }"""
    )
    page.click("#live")
    page.get_by_text("no microphone: Permission denied; allow it in the browser's settings for this site").wait_for()
    assert page.inner_text("#live") == "Use microphone"
    context.close()


def test_a_long_recording_has_a_map_and_events(page: Any, song: Path) -> None:
    page.set_input_files("#files", song)
    page.locator("#events button").nth(2).wait_for()
    events = page.locator("#events button").all_inner_texts()
    assert [event.split()[0] for event in events] == ["low", "high", "low"]
    assert page.inner_text("#who") == "song.wav · its middle is answered here, all of it below"
    assert page.inner_text("#names").split() == ["high", "low"]
    assert page.inner_text("#until") == "0:07.1"
    shades = page.evaluate(
        "Array.from(document.getElementById('heat').getContext('2d').getImageData(0, 0, heat.width, 2).data)"
    )
    strength = np.array(shades).reshape(2, -1, 4)[:, :, 3] / 255
    middle = strength.shape[1] // 2
    assert strength[0, middle] > 0.5 > strength[1, middle]  # high in the middle
    assert strength[1, 1] > 0.5 > strength[0, 1]  # low at the beginning
    page.locator("#events button").nth(1).click()
    assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(2, abs=0.3)


def test_what_was_cut_off_is_marked_and_numbers_are_whole(page: Any, song: Path, tmp_path: Path) -> None:
    whole = song.read_bytes()
    (tmp_path / "half.wav").write_bytes(whole[: len(whole) // 2])
    page.set_input_files("#files", tmp_path / "half.wav")
    page.locator("#list button", has_text="half.wav").get_by_text("cut off").wait_for()
    answered(page, "half.wav")
    assert page.evaluate("[0, 9.96, 59.94, 59.97, 119.99].map(clock)") == [
        "0:00.0",
        "0:10.0",
        "0:59.9",
        "1:00.0",
        "2:00.0",
    ]
    page.evaluate("bars({low: 1, high: 0})")
    numbers = page.locator(".bar span:last-child")
    assert numbers.all_inner_texts() == ["100 %", "0 %"]
    assert numbers.first.evaluate("(one) => one.scrollWidth <= one.clientWidth")


def test_what_is_too_long_to_be_heard_as_a_whole_is_told_by_its_windows(page: Any) -> None:
    told = "(labels) => heard({row: {long: true, label: 'listening …'}, rows: labels.map((label) => ({label}))})"
    assert page.evaluate(told, ["low", "high", "low"]) == "mostly low"
    assert page.evaluate(told, ["low", "high", "owl", "owl"]) == "owl · low · high"
    assert page.evaluate(told, []) == "listening …"


def test_what_the_reader_has_chosen_stays(page: Any, home: Path, song: Path) -> None:
    low, high = (home / "tones" / label / f"{label}00.wav" for label in ("low", "high"))
    page.set_input_files("#files", low)
    page.locator("#list button", has_text="low00.wav").get_by_text("low", exact=True).wait_for()
    page.evaluate("document.getElementById('files').value = ''")
    page.set_input_files("#files", [high, song, high])
    page.locator("#list button", has_text="low00.wav").click()
    page.locator("#list button", has_text="high00.wav").get_by_text("high", exact=True).nth(1).wait_for()
    assert (page.inner_text("#who"), page.inner_text("#label")) == ("low00.wav", "low")


def test_a_server_that_goes_away_in_the_middle_is_said_to_have(home: Path, page: Any, song: Path) -> None:
    page.route("**/api/predict?*window*", lambda route: route.abort())
    page.set_input_files("#files", song)
    page.get_by_text("not heard to its end: ").wait_for()
    assert page.inner_text("#label") == "high"


def test_a_double_click_on_listen_stops_it_again(page: Any) -> None:
    page.evaluate(
        """() => {
            window.tracks = [];
            const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (asked) => {
                const stream = await real(asked);
                window.tracks.push(...stream.getTracks());
                return stream;
            };
        }"""
    )
    page.dblclick("#live")
    page.wait_for_timeout(1500)
    assert page.inner_text("#live") == "Use microphone"
    assert page.evaluate("window.tracks.map((track) => track.readyState)") in ([], ["ended"])


def test_the_microphone_is_heard_until_it_is_stopped(page: Any) -> None:
    page.click("#live")
    page.locator("#label", has_text="low").wait_for()
    assert page.inner_text("#who") == "microphone"
    assert page.inner_text("#aloud") == "low"
    assert page.inner_text("#live") == "Stop microphone"
    page.click("#live")
    assert page.inner_text("#live") == "Use microphone"


def test_what_the_browser_decodes_may_be_too_long_to_be_heard_as_a_whole(page: Any, song: Path) -> None:
    """As an m4a of half an hour: the server can't read it, and then hears it by windows alone."""
    refusals = ["not readable as sound: a.m4a (Format not recognised)", "longer than 10 minutes; take windows"]

    def refuse(route: Any) -> None:
        if "window" in route.request.url:
            route.continue_()
        else:
            route.fulfill(status=422, json={"error": refusals.pop(0)})

    page.route("**/api/predict?*", refuse)
    page.set_input_files("#files", song)
    page.locator("#list button[aria-current]").get_by_text("mostly low").wait_for()
    assert refusals == []
    assert page.inner_text("#label") == "mostly low"
    assert page.locator("#events button").count() > 0


def test_a_server_that_is_gone_is_said_to_be(page: Any, song: Path) -> None:
    page.route("**/api/predict?*", lambda route: route.abort())
    page.set_input_files("#files", song)
    page.locator("#note", has_text="the server does not answer; is it still running?").wait_for()
    assert page.inner_text("#label") == "no answer"
