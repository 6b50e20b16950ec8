from typing import Literal

import numpy as np
import pytest
import torch

from earsight.audio.decode import Sound
from earsight.audio.load import fixed_crops, prepare
from earsight.audio.settings import AudioSettings
from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram
from earsight.network.classifier import Classifier
from earsight.network.ensemble import join_classifiers
from earsight.network.exported import mark_prepared
from earsight.network.portable import Portable, PortableSpectrogram, columns_of, portable_image
from earsight.network.portable_sound import PortableSound
from tests.network.test_classifier import tiny


def sounds(batch: int, channels: int, samples: int) -> torch.Tensor:
    return torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("n_fft", "win", "hop", "columns"),
    [
        (1024, 1024, 160, 16),
        (1024, 512, 160, 16),
        (1024, 400, 160, 16),
        (2048, 200, 512, 8),
        (1024, 800, 512, 16),
        (512, 400, 160, 16),
        (501, 400, 100, 1),
        (96, 95, 36, 6),
        (64, 64, 7, 1),
    ],
)
@pytest.mark.parametrize("power", [1, 2])
def test_the_spectrogram_is_that_of_the_fourier_transform(
    n_fft: int, win: int, hop: int, columns: int, power: int
) -> None:
    settings = MelSettings(n_fft=n_fft, win_length=win, hop_length=hop, n_mels=20, power=power)
    assert columns_of(settings) == columns
    for samples in (4000, 4001, 3 * n_fft + 17):
        ours = PortableSpectrogram(settings, 16000)(sounds(2, 2, samples))
        theirs = MelSpectrogram(settings, 16000)(sounds(2, 2, samples))
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.max()))


@pytest.mark.parametrize("planes", ["mel", "deltas", "resolutions"])
@pytest.mark.parametrize("values", ["linear", "log", "pcen"])
def test_images_are_the_same(planes: str, values: str) -> None:
    settings = MelSettings(n_mels=32, planes=planes, values=values)
    for size in (None, (64, 80), (16, 20)):
        image = MelImage(settings, 16000, 2, size)
        assert torch.allclose(portable_image(image, 8000)(sounds(2, 1, 8000)), image(sounds(2, 1, 8000)), atol=2e-3)


@pytest.mark.parametrize("planes", ["mel", "deltas", "resolutions"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("values", ["linear", "log", "pcen"])
def test_quiet_sound_is_no_more_silent_than_here(planes: str, values: str, power: int) -> None:
    settings = MelSettings(n_mels=32, planes=planes, values=values, power=power)
    image = MelImage(settings, 16000)
    for level_db in (0, -60, -100, -120):
        sound = sounds(2, 1, 8000) * 10 ** (level_db / 20)
        expected = image(sound)
        assert torch.allclose(portable_image(image, 8000)(sound), expected, atol=2e-3)
        assert values != "linear" or float(expected.std()) == pytest.approx(1.0, abs=1e-2)
    silence = torch.zeros(1, 1, 8000)
    assert torch.equal(portable_image(image, 8000)(silence), image(silence))


def recordings(channels: int, lengths: list[int]) -> list[np.ndarray]:
    """Noise between silences, loud, soft and nearly silent, and silence alone."""
    rng, found = np.random.default_rng(0), []
    for number, length in enumerate(lengths):
        sound = np.zeros((channels, length), dtype=np.float32)
        start, end = sorted(rng.integers(0, length + 1, 2))
        loudness = (1.0, 0.02, 3.0, 1e-7, 0.0)[number % 5]
        sound[:, start:end] = loudness * rng.standard_normal((channels, end - start))
        found.append(sound + (number % 3 == 0) * 1e-5 * rng.standard_normal(sound.shape).astype(np.float32))
    return found


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("short", ["whole", "around"])
@pytest.mark.parametrize("trim_db", [None, 20.0, 60.0])
@pytest.mark.parametrize("peak_normalise", [True, False])
def test_what_is_heard_of_a_recording_is_what_prediction_hears(
    count: int, short: Literal["whole", "around"], trim_db: float | None, peak_normalise: bool
) -> None:
    audio = AudioSettings(
        crop_s=0.5, score_crops=count, channels=2, short=short, trim_db=trim_db, peak_normalise=peak_normalise
    )
    ours, cut = PortableSound(audio), 0  # their energies are sums in 32 and in 64 bits: the same hops, but for chance
    lengths = [1, 100, 511, 512, 7999, 8000, 8001, 9600, 9601, *np.random.default_rng(1).integers(9602, 40000, 30)]
    for sound in recordings(2, lengths):
        heard = prepare(Sound(sound, audio.rate_hz), audio).floats()
        expected = fixed_crops(heard, audio)
        assert np.array_equal(ours(torch.from_numpy(sound)[None])[0].numpy(), expected)
        crops = mark_prepared(np.concatenate([*expected], axis=1))
        assert np.array_equal(ours(torch.from_numpy(crops)[None])[0].numpy(), expected)
        cut += heard.shape != sound.shape
    assert (cut > 10) == (trim_db is not None)


def test_recordings_of_a_batch_are_prepared_each_by_itself() -> None:
    audio = AudioSettings(crop_s=0.5)
    batch = np.stack(recordings(1, [audio.crop_samples + 1] * 10))
    prepared = np.pad(fixed_crops(batch[0], audio)[0], [(0, 0), (500, 0)])[:, : audio.crop_samples]
    batch[3] = mark_prepared(prepared)
    ours = PortableSound(audio)(torch.from_numpy(batch)).numpy()
    for number, sound in enumerate(batch):
        heard = prepared if number == 3 else prepare(Sound(sound, audio.rate_hz), audio).floats()
        assert np.array_equal(ours[number], fixed_crops(heard, audio))
    assert np.isfinite(ours).all()


def some_directions(classifier: Classifier, seed: int) -> torch.Tensor:
    rows = torch.randn(3, classifier.network.num_features, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(rows.t()).Q.t().contiguous()


@pytest.mark.parametrize("model", ["test_efficientnet", "test_vit"])
def test_probabilities_are_those_of_the_classifier(model: str) -> None:
    classifier = tiny(model, audio=AudioSettings(crop_s=0.5, score_crops=2))
    classifier.temperature = 1.7
    classifier.directions = some_directions(classifier, 1)
    crops = sounds(4, 1, 8000).numpy()
    clips = torch.from_numpy(mark_prepared(crops.reshape(2, 16000)))
    probabilities, logits, familiarity = Portable.of(classifier)(clips)
    expected = classifier.answers(crops)
    assert np.allclose(probabilities.detach().numpy(), expected.probabilities, atol=1e-4)
    assert np.allclose(familiarity.detach().numpy(), expected.familiarity, atol=1e-4)
    assert not np.allclose(expected.familiarity, 1.0)
    assert torch.allclose(torch.softmax(logits / 1.7, 1), probabilities)


@pytest.mark.parametrize("multilabel", [False, True])
def test_an_ensemble_answers_as_its_members_together(multilabel: bool) -> None:
    members = [tiny("test_efficientnet"), tiny("test_resnet")]
    if multilabel:
        members = [
            Classifier(one.labels, one.audio, one.mel, one.network_settings, multilabel=True).eval() for one in members
        ]
    for seed, (member, temperature) in enumerate(zip(members, (1.7, 0.6), strict=True)):
        member.temperature = temperature
        member.directions = some_directions(member, seed)
    whole = join_classifiers(members)
    clips = sounds(2, 1, whole.audio.crop_samples)
    expected = whole.answers(clips.numpy())
    given = torch.from_numpy(mark_prepared(clips.numpy()))
    probabilities, _, familiarity = (part.detach().numpy() for part in Portable.of(whole)(given[:, 0]))
    assert np.allclose(probabilities, expected.probabilities, atol=1e-4)
    assert np.allclose(familiarity, expected.familiarity, atol=1e-4)
    alone = [member.probabilities(clips.numpy()) for member in members]
    scores = [np.log(one / (1 - one)) if multilabel else np.log(one) for one in alone]
    mean = np.mean(scores, axis=0)
    by_hand = 1 / (1 + np.exp(-mean)) if multilabel else np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, by_hand, atol=1e-4)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_attention_is_written_out_and_gives_the_same_numbers() -> None:
    classifier = tiny("test_vit")
    portable = Portable.of(classifier)
    fused = [
        [module.fused_attn for module in one.modules() if hasattr(module, "fused_attn")]
        for one in (classifier.network, portable.network)
    ]
    assert fused == [[True] * 6, [False] * 6]
    image = sounds(2, 1, 160 * 160).reshape(2, 1, 160, 160)
    with torch.inference_mode():
        assert torch.allclose(portable.network(image), classifier.network(image), atol=1e-5)


def test_the_reference_of_an_export_is_the_mean_of_the_crops_that_prediction_hears() -> None:
    classifier = tiny(audio=AudioSettings(crop_s=0.25, score_crops=3, channels=2, trim_db=20.0))
    portable = Portable.of(classifier)
    assert portable.example().shape == (2, 2, 4000 + 1234)
    assert (portable.length_axis, Portable.of(tiny()).length_axis, Portable.of(tiny()).example().ndim) == (2, 1, 2)
    sound = np.zeros((2, 20000), dtype=np.float32)
    sound[:, 3000:15000] = sounds(1, 2, 12000)[0]
    _, logits, _ = portable(torch.from_numpy(sound)[None])
    assert np.allclose(portable.reference(sound), logits[0].detach(), atol=1e-4)
