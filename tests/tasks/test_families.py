"""The contract of every family of timm's networks: built, trained a step, saved, loaded, exported, equal."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from lightning_fabric import Fabric

from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.compatibility import ensure_trainable
from earsight.network.exported import mark_prepared
from earsight.network.settings import NetworkSettings
from earsight.tasks.evaluate import evaluate
from earsight.tasks.explain import explain
from earsight.tasks.export import LARGEST_DIFFERENCE, export
from earsight.tasks.train import train
from earsight.tasks.training.learner import Learner
from tests.tasks.test_train import recipe

AUDIO, MEL = AudioSettings(crop_s=0.8), MelSettings(n_mels=80)
"""Images of 80 × 81: no multiple of a patch or window."""

QUICK = {
    "ConvNeXt": "test_convnext",
    "ResNet": "test_resnet",
    "ViT": "test_vit",
}
"""family: member. Exported in every run of the tests."""

SMALL = {
    "BYOBNet": "test_byobnet",
    "CPUBone": "cpubone_nano",
    "CSPNet": "cs3darknet_focus_s",
    "CoAtNet": "test_coatnet",
    "CoaT": "coat_lite_tiny",
    "ConViT": "convit_tiny",
    "DLA": "dla46x_c",
    "DPN": "dpn48b",
    "DeiT": "deit_tiny_patch16_224",
    "DeiT, distilled": "deit_tiny_distilled_patch16_224",
    "DenseNet": "densenet121",
    "EVA": "eva02_tiny_patch14_224",
    "EdgeNeXt": "edgenext_xx_small",
    "EfficientNet": "test_efficientnet",
    "EfficientFormer v2": "efficientformerv2_s0",
    "EfficientViT (MIT)": "efficientvit_b0",
    "EfficientViT (MSRA)": "efficientvit_m0",
    "FastViT": "fastvit_t8",
    "FasterNet": "fasternet_t0",
    "GhostNet": "ghostnet_050",
    "HGNet": "hgnetv2_b0",
    "HRNet": "hrnet_w18_small",
    "InceptionNeXt": "inception_next_atto",
    "LeViT": "levit_128s",
    "MambaOut": "test_mambaout",
    "MaxViT": "test_maxvit",
    "MetaFormer": "poolformerv2_s12",
    "MobileNet v3": "mobilenetv3_small_050",
    "MobileNet v4": "mobilenetv4_conv_small_035",
    "MobileViT": "mobilevit_xxs",
    "NFNet": "test_nfnet",
    "PVT v2": "pvt_v2_b0",
    "PiT": "pit_ti_224",
    "ReXNet": "rexnet_100",
    "RegNet": "regnetx_002",
    "RepGhost": "repghostnet_050",
    "RepViT": "repvit_m1",
    "ResNet v2": "resnetv2_18",
    "StarNet": "starnet_s050",
    "SwiftFormer": "swiftformer_xs",
    "TinyViT": "tiny_vit_5m_224",
    "ViT, relative positions": "test_vit_relpos",
    "VoVNet": "ese_vovnet19b_slim_dw",
}
"""By ``make families`` alone, as are the larger ones."""

LARGE = {
    "BEiT": "beit_base_patch16_224",
    "CrossViT": "crossvit_tiny_240",
    "DaViT": "davit_tiny",
    "FocalNet": "focalnet_tiny_srf",
    "gMLP": "gmlp_ti16_224",
    "Hiera": "hiera_tiny_224",
    "MLP-Mixer": "mixer_s32_224",
    "Swin v2": "swinv2_tiny_window8_256",
    "Swin": "swin_tiny_patch4_window7_224",
    "TResNet": "tresnet_m",
    "VGG": "vgg11_bn",  # without normalisation a step makes logits of 40,000, of which 32 bits hold no thousandths
    "VOLO": "volo_d1_224",
    "Xception": "legacy_xception",
    "XCiT": "xcit_nano_12_p8_224",
}


HEAD = f"""# Families of networks, measured

Written by `make families`: each built with drawn weights, trained one step on images of {MEL.n_mels} × \
{1 + AUDIO.crop_samples // MEL.hop_length}, saved, loaded (bit for bit
the same) and exported to ONNX. Image: what the network took. |Δ logit|: the largest between file and run. Seconds: of
processor time, for all of it.

| family | member | parameters | image | largest \\|Δ logit\\| | seconds |
|---|---|---:|---|---:|---:|
"""


@pytest.fixture(scope="module")
def measured() -> Callable[[str], None]:
    """Takes a row of the table and writes it to the file that FAMILIES_TABLE names, where it does."""
    place = os.environ.get("FAMILIES_TABLE")
    if not place:
        return lambda row: None
    path = Path(place)
    path.write_text(HEAD, encoding="utf-8")

    def write(row: str) -> None:
        path.write_text(f"{path.read_text(encoding='utf-8')}{row}\n", encoding="utf-8")

    return write


def crops(clips: int) -> torch.Tensor:
    return torch.randn(clips, 1, AUDIO.crop_samples, generator=torch.Generator().manual_seed(0))


def trained(model: str) -> Classifier:
    """After one real step on four clips, in evaluation mode."""
    torch.manual_seed(0)
    network = NetworkSettings(model=model, pretrained=False)
    classifier = Classifier(("a", "b", "c"), AUDIO, MEL, network)
    ensure_trainable(classifier)
    before = [weight.detach().clone() for weight in classifier.network.parameters()]
    learner = Learner.of(Fabric(accelerator="cpu", devices=1), classifier, recipe())
    classifier.train()
    logits, loss = learner.step(classifier.image(crops(4)), torch.eye(3)[[0, 1, 2, 0]])
    assert logits.shape == (4, 3)
    assert torch.isfinite(loss)
    changed = [not torch.equal(*pair) for pair in zip(before, classifier.network.parameters(), strict=True)]
    assert changed[0]
    assert changed[-1]
    return classifier.eval()


def saved(classifier: Classifier, run: Path) -> np.ndarray:
    """Writes the run folder, reads it, and compares; logits [2, classes] of two crops."""
    save_classifier(classifier, run, {})
    loaded = Classifier.load(run)
    loaded.network.to(memory_format=torch.channels_last)  # as training lays the weights out: another sums otherwise
    with torch.inference_mode():
        logits = classifier(crops(2))
        assert torch.equal(loaded(crops(2)), logits)
    assert logits[0].ne(logits[1]).any()
    return logits.numpy()


@pytest.mark.parametrize(
    ("family", "model"),
    [
        *(pytest.param(*row, id=row[0]) for row in QUICK.items()),
        *(pytest.param(*row, id=row[0], marks=pytest.mark.slow) for row in sorted({**SMALL, **LARGE}.items())),
    ],
)
def test_a_family_keeps_the_contract(family: str, model: str, tmp_path: Path, measured: Callable[[str], None]) -> None:
    began = time.process_time()
    classifier = trained(model)
    expected = saved(classifier, tmp_path / "run")
    done = export(tmp_path / "run")
    assert done.difference < LARGEST_DIFFERENCE
    session = onnxruntime.InferenceSession(done.path)
    found = session.run(["logits"], {"waveform": mark_prepared(crops(2)[:, 0].numpy())})[0]
    assert np.allclose(found, expected, atol=LARGEST_DIFFERENCE)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    longer = np.random.default_rng(1).standard_normal((2, AUDIO.crop_samples + 5000)).astype(np.float32)
    together = session.run(["logits"], {"waveform": longer})[0]
    alone = [session.run(["logits"], {"waveform": longer[row : row + 1]})[0][0] for row in range(2)]
    assert np.allclose(together, alone, atol=1e-4)
    difference = max(done.difference, float(np.abs(found - expected).max()))
    millions = sum(weight.numel() for weight in classifier.network.parameters()) / 1e6
    image = " × ".join(map(str, classifier.image_shape))
    seconds = time.process_time() - began
    measured(f"| {family} | `{model}` | {millions:.1f} M | {image} | {difference:.0e} | {seconds:.0f} |")


def test_enlarged_images_go_all_the_way(tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, scored, resumed, answered and exported, by a network that takes multiples of 32 alone."""
    settings = recipe(epochs=1, network={"model": "dla46x_c", "pretrained": False}, mel={"n_mels": 30})
    result = train(tones, recipe=settings, out=tmp_path / "run", threads=1, progress=True)
    assert "warning: dla46x_c takes no images of 1×30×51: they are enlarged to 1×32×64" in capsys.readouterr().err
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.image_shape == (1, 32, 64)
    assert evaluate(tmp_path / "run").metrics.cross_entropy == pytest.approx(result.test.cross_entropy, rel=1e-4)
    assert explain(tmp_path / "run", next(tones.rglob("*.wav")), tmp_path / "a.png").heat.shape[0] == 30


@pytest.mark.filterwarnings("ignore:CSATv2 is designed")
def test_a_network_that_can_not_learn_is_refused_before_anything_is_decoded(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earsight.tasks.train.decode_parts", None)
    settings = recipe(network={"model": "csatv2", "pretrained": False})
    with pytest.raises(ModelError, match=r"csatv2 can't learn from images of 1×32×51: .*; choose another --model, or"):
        train(tones, recipe=settings, out=tmp_path / "run", threads=1)
    next(tones.rglob("*.wav")).unlink()  # 15 training clips are left, one of them a batch by itself
    one = recipe(batch_size=2, audio={"crop_s": 0.25}, mel={"n_mels": 9})
    with pytest.raises(
        ModelError, match=r"test_efficientnet can't be trained on a batch of one clip .*; change --batch-size"
    ):
        train(tones, recipe=one, out=tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()


def test_a_network_that_can_not_be_exported_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = NetworkSettings(model="test_vit", pretrained=False)
    save_classifier(Classifier(("a", "b"), AUDIO, MEL, network), tmp_path / "run", {})

    def awkward(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x

    monkeypatch.setattr("timm.models.vision_transformer.VisionTransformer.forward_features", awkward)
    with pytest.raises(ModelError, match=r"^this network can't be exported to ONNX: [^\n]+; try another --model$"):
        export(tmp_path / "run")
    assert not (tmp_path / "run.onnx").exists()
