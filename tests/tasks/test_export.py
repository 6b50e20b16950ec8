"""A run as one file: really exported, run by onnxruntime in another process that has no torch."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import earsight as es
from earsight.audio.decode import Sound, decode
from earsight.audio.load import fixed_crops, prepare, resample
from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError, SettingsError
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import save_classifier
from earsight.network.exported import mark_prepared
from earsight.network.portable import Portable
from earsight.network.settings import NetworkSettings
from earsight.tasks import export as module
from earsight.tasks.export import export
from earsight.tasks.train import train
from tests.conftest import called, write_tones
from tests.network.test_classifier import tiny
from tests.tasks.test_train import recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    settings = recipe(epochs=6, audio={"crop_s": 0.4, "score_crops": 2})
    train(write_tones(root / "tones"), recipe=settings, out=root / "run", threads=1)
    return root


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    export(trained / "run", trained / "model.onnx")
    return trained / "model.onnx"


def answers(path: Path, sounds: list[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    return [session.run(["probabilities"], {"waveform": sound})[0][0] for sound in sounds]


def test_the_file_answers_as_the_run_does_on_clips_of_any_length(trained: Path, exported: Path) -> None:
    classifier = es.Classifier.load(trained / "run")
    paths = sorted((trained / "tones").rglob("*.wav"))
    sounds = [resample(decode(path), classifier.audio).samples for path in paths]
    assert len({sound.shape[1] for sound in sounds}) > 5
    for path, found in zip(paths, answers(exported, sounds), strict=True):
        assert np.allclose(found, list(classifier.predict(path).probabilities.values()), atol=1e-4)


def test_the_file_prepares_a_recording_itself(trained: Path, exported: Path) -> None:
    audio = es.Classifier.load(trained / "run").audio
    tone = decode(next((trained / "tones" / "low").glob("*.wav"))).samples
    sounds = [0.3 * np.pad(tone, [(0, 0), silence]) for silence in ((0, 0), (9000, 0), (0, 9000), (20000, 3000))]
    heard = [prepare(Sound(sound, audio.rate_hz), audio).floats() for sound in sounds]
    assert [one.shape[1] < sound.shape[1] for one, sound in zip(heard, sounds, strict=True)][1:] == [True] * 3
    prepared = [mark_prepared(np.concatenate([*fixed_crops(one, audio)], axis=1)) for one in heard]
    assert np.array_equal(answers(exported, sounds), answers(exported, prepared))
    untrimmed = [mark_prepared(np.concatenate([*fixed_crops(sound, audio)], axis=1)) for sound in sounds]
    assert not np.allclose(answers(exported, sounds)[1:], answers(exported, untrimmed)[1:], atol=1e-3)


def test_everything_that_an_answer_needs_is_inside(trained: Path, exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported)
    about = json.loads(session.get_modelmeta().custom_metadata_map["earsight"])
    described = json.loads((trained / "run" / "model.json").read_text())
    for key in ("labels", "audio", "mel", "network", "temperature", "split", "versions"):
        assert about[key] == described[key]
    assert (about["format"], about["quantize"]) == (2, "none")
    assert str(trained) in json.dumps(described)
    assert str(trained) not in json.dumps(about)  # the file goes where the run does not
    assert about["data"]["place"] == "tones"
    sizes = [(entry.name, entry.shape) for entry in session.get_inputs()]
    assert sizes == [("waveform", ["batch", "samples"])]
    text = exported.read_bytes().decode("latin-1")
    assert str(Path(module.__file__).parent) not in text  # nobody's folders


def test_a_batch_equals_its_items(trained: Path, exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported)
    clips = np.random.default_rng(0).standard_normal((3, 9000)).astype(np.float32)
    clips[1] = 0
    together = session.run(["logits"], {"waveform": clips})[0]
    for row in range(3):
        alone = session.run(["logits"], {"waveform": clips[row : row + 1]})[0]
        assert np.allclose(together[row], alone[0], atol=1e-4)
    assert np.isfinite(together).all()


def test_another_process_without_torch_runs_it(trained: Path, exported: Path) -> None:
    blocked = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['timm'] = None\n"
        "import numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "print(session.run(['probabilities'], {'waveform': numpy.zeros((1, 100), 'float32')})[0].sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked, exported], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1.0, abs=1e-5)


def test_stereo_goes_in_as_two_channels(tmp_path: Path) -> None:
    classifier = tiny(audio=AudioSettings(crop_s=0.25, channels=2))
    save_classifier(classifier, tmp_path / "run", {})
    done = export(tmp_path / "run")
    assert (done.path, done.real, done.clips) == (tmp_path / "run.onnx", False, 8)
    sound = np.random.default_rng(0).standard_normal((1, 2, 4000)).astype(np.float32)
    session = onnxruntime.InferenceSession(done.path)
    found = session.run(["probabilities"], {"waveform": mark_prepared(sound)})[0]
    assert np.allclose(found, classifier.probabilities(sound), atol=1e-4)


@pytest.mark.parametrize("bits", ["int8", "fp16"])
def test_fewer_bits_are_smaller_and_say_what_they_cost(trained: Path, exported: Path, bits: str) -> None:
    done = export(trained / "run", trained / f"{bits}.onnx", quantize=bits)
    assert done.bytes < 0.8 * exported.stat().st_size
    assert done.accuracy is not None
    assert (done.validated, done.calibrated) == (4, True if bits == "int8" else None)
    classifier = es.Classifier.load(trained / "run")
    about = json.loads(onnxruntime.InferenceSession(done.path).get_modelmeta().custom_metadata_map["earsight"])
    assert about["quantize"] == bits
    sound = resample(decode(next((trained / "tones").rglob("*.wav"))), classifier.audio).samples
    one, other = answers(exported, [sound])[0], answers(done.path, [sound])[0]
    assert not np.array_equal(one, other)
    assert np.allclose(one, other, atol=0.01 if bits == "fp16" else 0.3)
    graph = onnx.load(done.path).graph
    made_by = {name: node for node in graph.node for name in node.output}
    assert ("QuantizeLinear" in {node.op_type for node in graph.node}) == (bits == "int8")
    # Familiarity, to which limits are fitted, is the length of a product that is not in 8 bits.
    length = made_by[made_by["familiarity"].input[0]]
    product = made_by[length.input[0]]
    assert (length.op_type, product.op_type) == ("ReduceL2", "MatMul")
    assert not {made_by[name].op_type for name in product.input if name in made_by} & {"DequantizeLinear"}


def test_what_was_made_without_the_recordings_says_so(tmp_path: Path) -> None:
    save_classifier(tiny(), tmp_path / "run", {})
    done = called("export", ".", "--quantize", "int8", cwd=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.onnx").is_file()
    _, compared, cost = done.stdout.splitlines()
    assert compared.startswith(
        "checked against the run on 8 clips of noise (the run's recordings were not found) before quantising: same"
    )
    assert cost == (
        "accuracy with int8 was not measured: the run's validation clips were not found; calibrated on noise, because "
        "the training clips were not found"
    )


def test_torch_export(trained: Path) -> None:
    done = export(trained / "run", trained / "model.pt2", to="torch-export")
    about: dict[str, str] = {"earsight.json": ""}
    program = torch.export.load(done.path, extra_files=about).module()
    assert json.loads(about["earsight.json"])["labels"] == ["high", "low"]
    classifier = es.Classifier.load(trained / "run")
    path = next((trained / "tones").rglob("*.wav"))
    with torch.inference_mode():
        found = program(torch.from_numpy(resample(decode(path), classifier.audio).samples))[0][0].numpy()
    assert np.allclose(found, list(classifier.predict(path).probabilities.values()), atol=1e-4)


def test_a_file_that_answers_otherwise_is_not_written(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earsight.network.portable import PortableSpectrogram

    real = PortableSpectrogram.forward
    monkeypatch.setattr(PortableSpectrogram, "forward", lambda self, waveform, warp=None: 0.5 + real(self, waveform))
    with pytest.raises(ModelError, match="gives other answers: a logit differs by"):
        export(trained / "run", trained / "wrong.onnx")
    assert not (trained / "wrong.onnx").exists()
    assert not list(trained.glob(".export*"))


def test_what_can_not_be_written_is_refused_at_once(trained: Path, exported: Path, tmp_path: Path) -> None:
    run = trained / "run"
    for more, message in (
        ({"out": exported}, "exists; pass --overwrite"),
        ({"out": tmp_path / "a.txt"}, "must end in .onnx"),
        ({"out": tmp_path / "a.pt2", "to": "torch-export", "quantize": "int8"}, "is for ONNX files"),
        ({"out": tmp_path / "none" / "a.onnx"}, "no folder"),
    ):
        with pytest.raises(SettingsError, match=message):
            export(run, **more)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="does not fit"):
        export(tmp_path / "run")


def test_predict_takes_the_file_and_says_what_the_run_says(trained: Path, exported: Path) -> None:
    from earsight.tasks.predict import predict

    (trained / "tones" / "bad.wav").write_text("no sound")
    try:
        by_run, by_file = (list(predict(model, [trained / "tones"])) for model in (trained / "run", exported))
    finally:
        (trained / "tones" / "bad.wav").unlink()
    assert [row.path for row in by_run] == [row.path for row in by_file]
    assert len(by_run) == 25
    for one, other in zip(by_run, by_file, strict=True):
        assert (one.label, one.error) == (other.label, other.error)
        if one.probabilities is not None and other.probabilities is not None:
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert sum(row.error is not None for row in by_file) == 1


def test_predict_on_a_file_needs_no_torch(trained: Path, exported: Path) -> None:
    blocked = (
        "import sys\n"
        "for name in ('torch', 'timm', 'safetensors', 'lightning_fabric'):\n"
        "    sys.modules[name] = None\n"
        "from earsight.command_line import main\n"
        "sys.argv[0] = 'earsight'\n"
        "main()\n"
    )
    path = next((trained / "tones" / "low").glob("*.wav"))
    command = [sys.executable, "-c", blocked, "predict", exported, path, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    expected = es.Classifier.load(trained / "run").predict(path)
    assert told["label"] == expected.label
    assert told["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


def test_files_that_are_not_ours_are_refused(exported: Path, tmp_path: Path) -> None:
    from earsight.network.exported import Exported

    model = onnx.load(exported)
    entry = next(entry for entry in model.metadata_props if entry.key == "earsight")
    whole = json.loads(entry.value)

    def saved(value: str | None) -> Path:
        if value is None:
            del model.metadata_props[:]
        else:
            entry.value = value
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "half.onnx").write_bytes(exported.read_bytes()[:1000])
    (tmp_path / "folder.onnx").mkdir()
    for path, message in (
        (tmp_path / "none.onnx", "no such model file"),
        (tmp_path / "folder.onnx", "no such model file"),
        (tmp_path / "text.onnx", "can't be run as ONNX"),
        (tmp_path / "half.onnx", "can't be run as ONNX"),
        (saved(json.dumps({**whole, "format": 9})), "has format 9, but this earsight reads 2; upgrade earsight"),
    ):
        with pytest.raises(ModelError, match=message):
            Exported.load(path)
    with pytest.raises(ModelError, match="has format 1, but this earsight reads 2; export it again"):
        Exported.load(saved(json.dumps({**whole, "format": 1})))
    odd = [{"temperature": value} for value in ("x", [1], 0, 10**400, math.nan)]
    for broken in [*odd, {"audio": {**whole["audio"], "channels": 2}}]:
        with pytest.raises(ModelError, match="is damaged: its metadata is incomplete"):
            Exported.load(saved(json.dumps({**whole, **broken})))
    with pytest.raises(ModelError, match="is damaged: its metadata can't be read"):
        Exported.load(saved("[" * 200_000))
    for broken in ("[", "{}", json.dumps({**whole, "labels": ["a"]}), json.dumps({**whole, "audio": {"rate_hz": "x"}})):
        with pytest.raises(ModelError, match="is damaged"):
            Exported.load(saved(broken))
    with pytest.raises(ModelError, match="was not made by earsight export"):
        Exported.load(saved(None))


def test_silence_and_what_is_nearly_silent_are_answered_as_the_run_answers_them(tmp_path: Path) -> None:
    """Of images as large as they are by default: 40,000 equal numbers added up in 32 bits lose digits."""
    network = NetworkSettings(model="test_efficientnet", pretrained=False)
    torch.manual_seed(0)
    portable = Portable.of(es.Classifier(("a", "b", "c"), AudioSettings(), MelSettings(), network).eval())
    answer = module._write_onnx(portable, tmp_path / "x.onnx", {"format": 1})
    sounding = np.zeros((1, 48000), dtype=np.float32)
    sounding[0, 30000:30800] = np.random.default_rng(0).standard_normal(800)
    for sound in (np.zeros((1, 48000), dtype=np.float32), np.zeros((1, 900), dtype=np.float32), sounding):
        assert np.abs(answer(sound) - portable.reference(sound)).max() < 1e-5
    silence = torch.zeros(1, 1, 48000)
    assert not portable.image(silence).any()
    assert not portable.plain[0].image(silence).any()
