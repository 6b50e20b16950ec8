import base64
import dataclasses
import io
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from earsight.errors import DataError
from earsight.scores.alarms import AlarmThreshold, Tally
from earsight.scores.crossval import GroupScore
from earsight.scores.curves import curves_of, draw_false_alarms, draw_precision_recall
from earsight.scores.events import Event, Step
from earsight.scores.figures import draw_confusion, draw_curve, draw_histogram, draw_image_grid
from earsight.scores.intervals import Interval
from earsight.scores.metrics import measure
from earsight.scores.predictions import Predictions
from earsight.scores.report import FigureEntry, LeftOut, Mistake, Report, wav_bytes, write_report
from earsight.scores.timeline import draw_timeline
from tests.conftest import whole_pictures
from tests.pages import CHROMIUM, faults, needs_chromium


@pytest.fixture(autouse=True)
def as_users_get_them() -> Iterator[None]:
    with whole_pictures():
        yield


@pytest.fixture
def report(tmp_path: Path) -> Report:
    labels = ('<b>&"', "calm")
    answers = Predictions(
        labels, ("1", "2", "3"), np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), ("",) * 3
    )
    figure = draw_confusion(tmp_path / "c.png", measure(answers).confusion, labels, title="t")
    return Report(
        title="run",
        subtitle="net",
        split_sentence="Scored on strangers.",
        training_score=False,
        synthetic=False,
        created="today",
        metrics=measure(answers),
        facts=(("Clips", "3"),),
        figures=(FigureEntry("C", "words", figure),),
        mistakes=(Mistake("<i>.wav", "calm", labels[0], 0.8, wav_bytes(np.array([0.0, 0.5]), 8000)),),
        failures=(LeftOut("bad.wav", "no sound"),),
        settings={"epochs": 3, "mel": {"n_mels": 64}},
        versions={"torch": "9"},
    )


def test_page_says_the_numbers_and_embeds_the_rest(tmp_path: Path, report: Report) -> None:
    write_report(tmp_path / "r.html", report)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert re.findall(r"<b>(\d\.\d{3})</b>(\w+)", page) == [
        ("0.667", "accuracy"),
        ("0.750", "UAR"),
        ("0.667", "macro"),
        ("0.500", "ROC"),
        ("0.500", "average"),
    ]
    assert "<b>calm</b>: 1 of 1 found; 1 of 2 others taken for it." in page
    assert "&lt;b&gt;&amp;&#34;" in page
    assert "<i>.wav" not in page
    assert "Scored on strangers." in page
    assert 'bad.wav</bdi></td><td class="long">no sound' in page
    assert 'n_mels</th><td class="long">64' in page
    png = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert png is not None
    assert base64.b64decode(png[1]) == report.figures[0].path.read_bytes()
    assert report.mistakes[0].wav_bytes is not None
    assert base64.b64encode(report.mistakes[0].wav_bytes).decode() in page
    assert "http" not in page
    assert "This is the training score" not in page
    assert "Synthetic voices" not in page


def test_of_many_classes_and_files_the_worst_are_shown_and_the_rest_can_be_opened(
    tmp_path: Path, report: Report
) -> None:
    truth = np.repeat(np.arange(40), 2)
    answers = np.where(truth == 7, 8, truth)
    labels = tuple(f"bird{n:02}" for n in range(40))
    scored = Predictions(labels, tuple(map(str, range(80))), truth, np.eye(40)[answers], ("",) * 80)
    left_out = tuple(LeftOut(f"{n}.wav", "empty") for n in range(33))
    write_report(tmp_path / "r.html", dataclasses.replace(report, metrics=measure(scored), failures=left_out))
    page = " ".join((tmp_path / "r.html").read_text(encoding="utf-8").split())
    hardest, rest = page.split("The 30 hardest of 40 classes:")[1].split("<details><summary>all 40</summary>")
    assert re.findall(r"<bdi>(bird\d\d)</bdi></th>", hardest)[:3] == ["bird07", "bird08", "bird00"]
    assert hardest.count("<meter") == 30
    row = re.search("<bdi>bird07</bdi></td>(.*?)</tr>", rest)
    assert row is not None
    assert re.sub("<.*?>", " ", row[1]).split() == ["bird08", "2", "2"]
    assert page.split("<summary>3 more</summary>")[1].count('<td class="long">empty</td>') == 3


def test_intervals_and_speakers_stand_in_the_page(tmp_path: Path, report: Report) -> None:
    groups = (GroupScore("07", 60, 0.5), GroupScore("<3>", 30, 0.75))
    intervals = {"accuracy": Interval(0.41, 0.82)}
    told = dataclasses.replace(
        report, groups=groups, intervals=intervals, interval_groups="2 speakers and 5 clips without a speaker"
    )
    write_report(tmp_path / "r.html", told)
    page = " ".join((tmp_path / "r.html").read_text(encoding="utf-8").split())
    assert "95 % interval: 0.410 to 0.820" in page
    assert page.count("95 % interval:") == 1
    assert "differs between the 2 speakers and 5 clips without a speaker of the test: they show how" in page
    assert "None of them is labelled" not in page
    rows = re.findall(
        r'<bdi>([^<]+)</bdi></th><td class="n">(\d+)</td><td class="n">(0\.\d{3})</td><td class="bar"><meter', page
    )
    assert rows == [("07", "60", "0.500"), ("&lt;3&gt;", "30", "0.750")]


@needs_chromium
def test_everyone_can_read_the_page(tmp_path: Path, report: Report) -> None:
    """With long names, names from right to left, many classes and much that went wrong."""
    labels = tuple(f"{'a name of many words ' * (n % 3)}شاحنة ({n})" for n in range(34))
    truth = np.repeat(np.arange(34), 2)
    scored = Predictions(labels, tuple(map(str, truth)), truth, np.eye(34)[(truth * 5) % 34], ("",) * 68)
    long = "folder_without_a_space" * 6
    changed = dataclasses.replace(
        report,
        title=long,
        metrics=measure(scored),
        caveat="speaker-dependent",
        synthetic=True,
        intervals={"accuracy": Interval(0.41, 0.82)},
        groups=(GroupScore(long, 60, 0.5),),
        figures=tuple(dataclasses.replace(report.figures[0], wide=wide) for wide in (False, True)),
        mistakes=(dataclasses.replace(report.mistakes[0], path=f"{long}.wav", truth=labels[2]),) * 2,
        failures=(LeftOut(f"{long}.wav", "no sound"),) * 33,
    )
    write_report(tmp_path / "r.html", changed)
    assert faults(tmp_path / "r.html") == []


def test_what_is_seen_in_a_figure_is_told(tmp_path: Path, report: Report) -> None:
    figure = dataclasses.replace(report.figures[0], alt='2 of 3 <b> & "so"')
    write_report(tmp_path / "r.html", dataclasses.replace(report, figures=(figure, report.figures[0])))
    told = re.findall('alt="([^"]*)"', (tmp_path / "r.html").read_text(encoding="utf-8"))
    assert told == ["2 of 3 &lt;b&gt; &amp; &#34;so&#34;", "C"]


def test_how_a_rare_class_is_found_stands_in_the_page(tmp_path: Path, report: Report) -> None:
    fault = np.array([0.9, 0.3, *np.full(38, 0.1)])
    truth = np.array([1, 1, *np.zeros(38, dtype=int)])
    answers = Predictions(
        ("ok", "fault"), tuple(map(str, range(40))), truth, np.stack([1 - fault, fault], 1), ("",) * 40
    )
    alarm = AlarmThreshold("fault", 0.05, 0.2, Tally(3, 4, 1, 20), Tally(2, 2, 1, 38))
    told = dataclasses.replace(
        report,
        metrics=measure(answers),
        intervals={"auc": Interval(0.9, 0.99)},
        groups=(GroupScore("m1", 20, 0.95, 1.0), GroupScore("m2", 20, 1.0)),
        alarms=(alarm,),
    )
    write_report(tmp_path / "r.html", told)
    page = " ".join(re.sub(r"<[^>]*>", " ", (tmp_path / "r.html").read_text(encoding="utf-8")).split())
    assert (
        "1.000 ROC-AUC 95 % interval: 0.900 to 0.990; by chance 0.5 1.000 average precision of fault by chance 0.050"
        in page
    )
    found = (
        "fault : 1 of 2 found; 0 of 38 others taken for it. To say “ok” of every clip would have an accuracy of 0.950."
    )
    assert found in page
    assert "5 % 0.2 3 of 4 1 of 20 2 of 2 (100 %) 1 of 38 (2.6 %)" in page
    assert "m1 20 0.950 1.000 m2 20 1.000 –" in page
    assert not CHROMIUM or faults(tmp_path / "r.html") == []


def test_a_curve_is_that_of_the_rarer_class_and_shows_where_the_answers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, fault = np.array([0, 0, 1, 1, 1, 1, 1]), np.array([0.9, 0.4, 0.6, 0.2, 0.1, 0.1, 0.1])
    answers = Predictions(("fault", "ok"), tuple("abcdefg"), truth, np.stack([fault, 1 - fault], axis=1), ("",) * 7)
    curves = curves_of(answers)
    assert [(one.name, one.recall, one.precision, one.alarms) for one in curves] == [("fault", 0.5, 0.5, 0.2)]
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: seen.append(figure))
    draw_precision_recall(tmp_path / "p.png", curves)
    draw_false_alarms(tmp_path / "f.png", curves)
    precisions, alarms = (figure.axes[0].lines for figure in seen)
    assert precisions[0].get_xydata().tolist()[:4] == [[0, 1], [0.5, 1], [0.5, 0.5], [1, 2 / 3]]
    assert precisions[1].get_xydata().tolist() == [[0.5, 0.5]]
    assert precisions[2].get_ydata() == pytest.approx([2 / 7, 2 / 7])  # by chance
    assert alarms[0].get_xydata().tolist()[:4] == [[0, 0], [0, 0.5], [0.2, 0.5], [0.2, 1]]
    assert alarms[1].get_xydata().tolist() == [[0.2, 0.5]]
    assert [one.get_text() for one in seen[1].axes[0].get_legend().get_texts()] == [
        "fault",
        "as it is answered",
        "by chance",
    ]


def test_of_more_classes_each_has_a_curve_and_of_one_alone_there_is_none(tmp_path: Path) -> None:
    three = Predictions(tuple("abcd"), tuple("uvw"), np.array([0, 1, 2]), np.eye(4)[[0, 1, 1]], ("",) * 3)
    assert [one.name for one in curves_of(three)] == ["a", "b", "c"]
    draw_false_alarms(tmp_path / "f.png", curves_of(three))
    assert Image.open(tmp_path / "f.png").size[0] > 500
    alone = Predictions(("a", "b"), tuple("uv"), np.array([0, 0]), np.eye(2)[[0, 1]], ("",) * 2)
    assert curves_of(alone) == []
    many = Predictions(tuple("abcdefgh"), tuple("uvw"), np.array([0, 1, 2]), np.eye(8)[[0, 1, 1]], ("",) * 3)
    assert curves_of(many) == []


def test_what_spoke_for_the_mistakes_stands_below_them(tmp_path: Path, report: Report) -> None:
    picture = tmp_path / "mistakes.png"
    picture.write_bytes(b"a picture")
    write_report(tmp_path / "r.html", dataclasses.replace(report, explained=FigureEntry("Why", "words", picture)))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.index("Most confident mistakes") < page.index(base64.b64encode(b"a picture").decode())
    assert "<b>Why.</b> words" in page


def test_banners(tmp_path: Path, report: Report) -> None:
    write_report(tmp_path / "r.html", dataclasses.replace(report, training_score=True, synthetic=True, mistakes=()))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "This is the training score" in page
    assert "Synthetic voices" in page
    assert "every scored clip was answered correctly" in page


def test_wav_holds_the_samples() -> None:
    with wave.open(io.BytesIO(wav_bytes(np.array([0.0, 1.0, -2.0, 0.5]), 8000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [0, 32767, -32767, 16384]
    with pytest.raises(DataError, match="NaN"):
        wav_bytes(np.array([np.nan]), 8000)
    with pytest.raises(DataError, match="one channel"):
        wav_bytes(np.zeros((2, 8)), 8000)


def test_image_grid_draws_low_frequencies_at_the_bottom(tmp_path: Path) -> None:
    image = np.zeros((16, 20))
    image[:4] = 1.0  # the low bins are loud
    path = draw_image_grid(
        tmp_path / "g.png", np.stack([image] * 8), ["x"] * 8, hop_s=0.1, mel_hz=np.linspace(50, 4000, 16)
    )
    pixels = np.asarray(Image.open(path).convert("L"), dtype=float)
    height, width = pixels.shape
    first = pixels[: height // 2, : width // 4]
    column = first[:, first.shape[1] * 3 // 4]
    bright = np.flatnonzero((column > 200) & (column < 254))
    dark = np.flatnonzero(column < 20)
    assert bright.mean() > dark.mean()


def test_curve_and_large_confusion_are_pictures(tmp_path: Path) -> None:
    curve = draw_curve(tmp_path / "l.png", [1, 2], {"training": [2.0, 1.0]}, title="t", y_name="y", marked_epoch=2)
    large = draw_confusion(tmp_path / "c.png", np.eye(30, dtype=np.int64), [f"class{n}" for n in range(30)], title="t")
    for path in (curve, large):
        assert np.asarray(Image.open(path).convert("L")).std() > 5


class Shown:
    """What a figure says, caught in the moment when it is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib.figure import Figure

        saved = Figure.savefig

        def catch(figure: Figure, *args: object, **kwargs: object) -> None:
            self.axes = figure.axes
            saved(figure, *args, **kwargs)

        monkeypatch.setattr(Figure, "savefig", catch)


def test_confusion_has_truth_in_rows_and_names_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch)
    labels = ["$\\x$", "a$b$c"]  # as formulas, the first would raise and the second lose its dollars
    draw_confusion(tmp_path / "c.png", np.array([[3, 1], [0, 2]]), labels, title="5 $ or $ 6")
    (axes,) = shown.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "truth")
    assert [text.get_text() for text in axes.get_xticklabels()] == labels
    assert [text.get_text() for text in axes.get_yticklabels()] == labels
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "3\n75 %", (1, 0): "1\n25 %", (1, 1): "2\n100 %"}  # (column, row)
    with pytest.raises(DataError, match="for 3 labels"):
        draw_confusion(tmp_path / "c.png", np.eye(2, dtype=np.int64), ["a", "b", "c"], title="t")


def test_every_series_is_drawn_and_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch)
    series = {f"_{n}": [n, n + 1.0] for n in range(9)}
    draw_curve(tmp_path / "l.png", [1, 2], series, title="t", y_name="nats", marked_epoch=2)
    (axes,) = shown.axes
    drawn = axes.get_lines()[:9]
    assert [list(line.get_ydata()) for line in drawn] == list(series.values())
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 9
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*series, "kept: epoch 2"]


def test_image_grid_has_seconds_under_each_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch)
    titles = ["x" * 80, "b", "c", "d", "e"]
    mel_hz = np.linspace(40, 4000, 16)
    draw_image_grid(tmp_path / "g.png", np.zeros((5, 16, 20)), titles, hop_s=0.1, mel_hz=mel_hz)
    assert [axes.get_visible() for axes in shown.axes] == [True] * 5 + [False] * 3
    assert [len(axes.get_xticks()) > 0 for axes in shown.axes[:5]] == [False, True, True, True, True]
    assert [len(axes.get_yticks()) > 0 for axes in shown.axes[:5]] == [True, False, False, False, True]
    assert shown.axes[0].get_xlim() == pytest.approx((0, 2.0))
    assert len(shown.axes[0].get_title()) == 34
    assert "1 k" in [text.get_text() for text in shown.axes[0].get_yticklabels()]
    with pytest.raises(DataError, match="with 1 titles"):
        draw_image_grid(tmp_path / "g.png", np.zeros((5, 16, 20)), ["a"], hop_s=0.1, mel_hz=mel_hz)


def test_settings_lose_nothing(tmp_path: Path, report: Report) -> None:
    settings = {"seed": 7, "run": {"place": "here"}, "mel": {"hop": {"samples": 512}}}
    changed = dataclasses.replace(report, settings=settings, failures=(LeftOut("caf\udce9.wav", "no sound"),))
    write_report(tmp_path / "r.html", changed)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row">([\w.]+)</th><td class="long">(\w+)</td>', page)
    assert {("seed", "7"), ("place", "here"), ("hop.samples", "512")} <= set(rows)
    assert "1 file is in no score" in page
    assert r"caf\udce9.wav" in page


def test_importing_scores_loads_no_heavy_package() -> None:
    code = (
        "import sys, earsight.scores.figures, earsight.scores.metrics, earsight.scores.report;"
        "print(sorted({'torch', 'matplotlib', 'jinja2', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("values", [[-20.0, -20.000000000000004], [1e6, 1e6 + 1e-10], [3.0], []])
def test_levels_that_are_alike_but_for_rounding_are_one_bar(tmp_path: Path, values: list[float]) -> None:
    drawn = draw_histogram(tmp_path / "levels.png", values, title="Loudness", x_name="dB")
    assert Image.open(drawn).size[0] > 500


def test_a_timeline_names_labels_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch)
    labels = ["cost $x_{$", "b"]
    steps = [Step(float(n), n + 1.0, np.array([0.7, 0.3]), 1.0) for n in range(3)]
    draw_timeline(tmp_path / "t.png", labels, steps, [Event("b", 0.0, 1.0, 0.3)], "$\\x$")
    assert [text.get_text() for text in shown.axes[0].get_yticklabels()] == labels
