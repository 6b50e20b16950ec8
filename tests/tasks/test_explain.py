"""A tone planted in noise: what the picture marks must lie on it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import earsight as es
from earsight.audio.load import load_waveform, middle_crop
from earsight.errors import SettingsError
from earsight.network.attribution import attribution
from earsight.network.classifier import Classifier
from earsight.network.ensemble import join_classifiers
from earsight.tasks.explain import Explanation, explain, explain_waveform
from earsight.tasks.train import train
from tests.conftest import called, tone, whole_pictures
from tests.tasks.test_train import recipe

RATE_HZ, LENGTH_S, BURST_S = 16000, 2.0, 0.25
PITCHES_HZ = {"high": 3000.0, "low": 400.0}


def planted(hz: float | None, start_s: float, seed: int) -> np.ndarray:
    """A short tone at that time in two seconds of noise."""
    samples = 0.02 * np.random.default_rng(seed).standard_normal(round(LENGTH_S * RATE_HZ))
    if hz is None:
        return samples.astype(np.float32)
    start = round(start_s * RATE_HZ)
    burst = 0.5 * tone(hz, BURST_S) * np.hanning(round(BURST_S * RATE_HZ))
    samples[start : start + len(burst)] += burst
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    for label, hz in {**PITCHES_HZ, "none": None}.items():  # without a class of mere noise, one tone is not the other
        (root / "data" / label).mkdir(parents=True)
        for n in range(40):
            sound = planted(hz, rng.uniform(0.1, LENGTH_S - BURST_S - 0.1), n)
            soundfile.write(root / "data" / label / f"{n}.wav", sound, RATE_HZ)
    settings = recipe(
        epochs=20,
        audio={"crop_s": LENGTH_S, "trim_db": None},
        mel={"n_mels": 64, "win_length": 1024},
        augment={"mixup_alpha": 0.0, "time_masks": 0, "freq_masks": 0},
    )
    result = train(root / "data", recipe=settings, out=root / "run", threads=1)
    assert result.test is not None
    assert result.test.accuracy == 1.0
    return root / "run"


@pytest.mark.parametrize("label", PITCHES_HZ)
@pytest.mark.parametrize("start_s", [0.2, 1.4])
def test_the_mass_lies_on_the_planted_time_and_band(run: Path, label: str, start_s: float) -> None:
    classifier = es.Classifier.load(run)
    found = explain_waveform(classifier, planted(PITCHES_HZ[label], start_s, 99)[None])
    assert (found.label, found.method) == (label, "HiResCAM")
    assert found.heat.shape == found.decibel.shape == (64, 201)
    assert (found.heat.min() >= 0, found.heat.max()) == (True, pytest.approx(1.0))
    seconds = np.arange(201) * found.hop_s
    in_time = (seconds > start_s - 0.2) & (seconds < start_s + BURST_S + 0.2)
    octaves = np.abs(np.log2(found.mel_hz / PITCHES_HZ[label]))
    shares = {
        "time": found.heat[:, in_time].sum() / found.heat.sum() / in_time.mean(),
        "band": found.heat[octaves < 1].sum() / found.heat.sum() / (octaves < 1).mean(),
    }
    assert shares["time"] > 2, shares  # where it was planted: more than twice its share of the area
    assert shares["band"] > 2, shares


def test_networks_without_a_map_are_explained_by_gradients(run: Path) -> None:
    one = es.Classifier.load(run)
    settings = one.network_settings.model_copy(update={"model": "test_vit", "pretrained": False})
    classifier = Classifier(one.labels, one.audio, one.mel, settings).eval()
    found = explain_waveform(classifier, planted(3000.0, 0.5, 1)[None], "low")
    assert (found.label, found.method) == ("low", "gradients")
    assert found.heat.shape == (64, 201)
    assert found.heat.max() == pytest.approx(1.0)


def test_networks_with_maps_of_different_sizes_are_explained_together(run: Path) -> None:
    one = es.Classifier.load(run)
    members = [
        Classifier(
            one.labels,
            one.audio,
            one.mel,
            one.network_settings.model_copy(update={"model": model, "pretrained": False}),
        ).eval()
        for model in ("test_efficientnet", "test_convnext")
    ]
    sound = planted(3000.0, 0.5, 1)[None]
    crop = np.ascontiguousarray(middle_crop(sound, one.audio))
    apart = [attribution(member, crop, "low")[0] for member in members]
    together, _ = attribution(join_classifiers(members), crop, "low")
    assert together.shape == (64, 201)
    mean = np.mean(apart, axis=0)
    assert np.corrcoef(together.ravel(), mean.ravel())[0, 1] > 0.95


def test_what_spoke_in_one_place_alone_is_found_there() -> None:
    heat = np.zeros((128, 301), np.float32)
    heat[100:108, 20:40] = 1.0  # of a hundred parts not one
    mel_hz = np.arange(128) * 60.0

    def strongest(heat: np.ndarray) -> tuple[float, float]:
        of = {"heat": heat, "decibel": heat, "waveform": heat[0], "rate_hz": 16000, "hop_s": 0.01, "mel_hz": mel_hz}
        return Explanation(label="a", probability=1.0, method="HiResCAM", unknown=False, **of).strongest

    assert strongest(heat) == pytest.approx((0.295, 103.5 * 60))
    assert strongest(np.zeros_like(heat)) == pytest.approx((1.5, 63.5 * 60))


@whole_pictures()
def test_silence_has_a_picture_too(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), RATE_HZ)
    found = explain(run, tmp_path / "silence.wav", tmp_path / "silence.png")
    assert np.isfinite(found.heat).all()
    assert (found.unknown, found.truncated) == (True, None)
    assert (tmp_path / "silence.png").read_bytes().startswith(b"\x89PNG")


@whole_pictures()
def test_what_was_cut_off_is_explained_as_far_as_it_goes(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.flac"
    soundfile.write(path, planted(3000.0, 0.5, 1), RATE_HZ)
    path.write_bytes(path.read_bytes()[:-20000])
    done = called("explain", run, path, "--label", "high", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith("high ")
    assert (done.stderr.count("\n"), "only the readable part was explained: " in done.stderr) == (1, True)
    assert (tmp_path / "half-explained.png").read_bytes().startswith(b"\x89PNG")


@whole_pictures()
def test_a_picture_is_written_and_none_is_lost(run: Path, tmp_path: Path) -> None:
    path = next((run.parent / "data" / "high").glob("*.wav"))
    found = explain(run, path, tmp_path / "a.png", label="low")
    assert found.label == "low"
    assert found.probability < 0.5
    loaded = es.Classifier.load(run)
    assert np.array_equal(explain(loaded, path, tmp_path / "c.png", label="low").heat, found.heat)
    expected = load_waveform(path, loaded.audio)
    assert len(found.waveform) == expected.shape[1]
    for out, more, message in (
        ("a.png", {}, "exists; pass --overwrite"),
        ("a.txt", {}, "must end in .png"),
        ("none/a.png", {}, "no folder"),
        ("b.png", {"label": "middle"}, "no label 'middle'; the model knows high, low, none"),
    ):
        with pytest.raises(SettingsError, match=message):
            explain(run, path, tmp_path / out, **more)
