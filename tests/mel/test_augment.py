from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earsight.errors import SettingsError
from earsight.mel.augment import Augmentation, augmented_images, draw, draw_filter, draw_warp
from earsight.mel.image import MelImage
from earsight.mel.image_augment import Masks, Mix, apply_cut, apply_masks, apply_mix, draw_cut, draw_masks, draw_mix
from earsight.mel.settings import AugmentSettings, MelSettings
from earsight.mel.spectrogram import MelSpectrogram, Warp
from earsight.mel.wave_augment import (
    Banks,
    WaveParameters,
    apply_waves,
    coloured_noise,
    draw_waves,
    reverberated,
    scaled_to_snr,
)

OFF = AugmentSettings(speed=0, mixup_alpha=0, time_masks=0, freq_masks=0)
SMALL = MelSettings(n_mels=32, hop_length=256)
CROP = 8000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def crops(batch: int = 4, channels: int = 1, samples: int = CROP) -> torch.Tensor:
    return 0.3 * torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(0))


def tone(hz: float, samples: int = CROP) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(samples) / 16000)[None, None]


def power_db(x: torch.Tensor) -> float:
    return 10 * float(x.square().mean().log10())


def test_masks_cover_just_what_was_drawn() -> None:
    images = torch.arange(2 * 1 * 4 * 6, dtype=torch.float32).reshape(2, 1, 4, 6)
    masks, none = Masks(np.array([[1], [0]]), np.array([[2], [0]])), Masks(np.zeros((2, 0), int), np.zeros((2, 0), int))
    masked = apply_masks(images, none, masks)
    assert torch.equal(masked[0, 0, :, 1:3], images[0].mean().expand(4, 2))
    assert torch.equal(masked[0, 0, :, [0, 3, 4, 5]], images[0, 0, :, [0, 3, 4, 5]])
    assert torch.equal(masked[1], images[1])
    by_band = apply_masks(images, masks, none)
    assert torch.equal(by_band[0, 0, 1:3], images[0].mean().expand(2, 6))
    assert torch.equal(by_band[0, 0, [0, 3]], images[0, 0, [0, 3]])
    both = apply_masks(images, masks, masks)
    assert torch.equal(both != images, (by_band != images) | (masked != images))
    assert torch.equal(both[0, 0, 1:3, 1:3], images[0].mean().expand(2, 2))
    assert torch.equal(apply_masks(images, none, none), images)


def test_each_plane_is_masked_with_its_own_mean() -> None:
    images = torch.stack([torch.zeros(4, 6), torch.ones(4, 6)])[None]
    masks = Masks(np.array([[1]]), np.array([[2]]))
    masked = apply_masks(images, masks, masks)
    assert torch.equal(masked, images)


@given(length=st.integers(1, 400), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_drawn_masks_lie_inside_and_are_no_longer_than_said(length: int, share: float, seed: int) -> None:
    masks = draw_masks(8, 2, length, share, rng(seed))
    assert (masks.starts >= 0).all()
    assert (masks.starts + masks.lengths <= length).all()
    assert masks.lengths.max() <= share * length


def test_masks_are_drawn_for_their_own_axis_and_reach_all_of_it() -> None:
    shares = {"freq_masks": 3, "freq_mask_share": 0.5, "time_masks": 2, "time_mask_share": 0.2}
    drawn = draw(2000, MelImage(SMALL, 16000), 16000, OFF.model_copy(update=shares), rng())
    for masks, count, length, longest in ((drawn.freq, 3, 32, 16), (drawn.time, 2, 63, 12)):
        assert masks.starts.shape == masks.lengths.shape == (2000, count)
        assert (masks.lengths.min(), masks.lengths.max()) == (0, longest)
        covering = masks.lengths > 0
        assert masks.starts[covering].min() == 0
        assert (masks.starts + masks.lengths)[covering].max() == length


def test_mix_is_the_weighted_sum_for_images_and_targets() -> None:
    mix = Mix("image", np.array([0.75, 1.0], dtype=np.float32), np.array([1, 0]))
    assert torch.allclose(apply_mix(torch.eye(2), mix), torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    assert torch.allclose(apply_mix(images, mix), torch.tensor([0.25, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))


def test_an_item_stays_mostly_itself() -> None:
    mix = draw_mix(1000, 0.3, rng())
    assert mix.share.min() >= 0.5
    assert sorted(mix.partner) == list(range(1000))
    # the larger part of Beta(α, α): nearly all for a small α, about half for a large one, anything for 1
    means = [draw_mix(4000, alpha, rng()).share.mean() for alpha in (0.05, 1.0, 50.0)]
    assert means == pytest.approx([0.97, 0.75, 0.54], abs=0.01)


def test_cutmix_takes_the_partners_frames_and_its_share_of_the_target() -> None:
    images = torch.arange(6, dtype=torch.float32).view(6, 1, 1, 1).expand(6, 1, 4, 50)
    mix = draw_cut(6, 0.8, 50, rng(3))
    cut, targets = apply_cut(images, mix), apply_mix(torch.eye(6), mix)
    for row in range(6):
        foreign = cut[row, 0, 0] == mix.partner[row]
        if mix.partner[row] == row:
            continue
        assert int(foreign.sum()) == round(50 * float(targets[row, mix.partner[row]])) <= 25
        assert torch.equal(cut[row, 0, 0] == row, ~foreign)
        runs = (foreign[1:] != foreign[:-1]).sum()
        assert runs <= 2  # one stretch
    many = draw_cut(2000, 1.0, 50, rng())
    assert many.cut is not None
    lengths, ends = many.cut.lengths[:, 0], (many.cut.starts + many.cut.lengths)[:, 0]
    assert set(lengths) == set(range(26))
    assert many.share == pytest.approx(1 - lengths / 50)
    assert (many.cut.starts[lengths > 0].min(), ends[lengths > 0].max()) == (0, 50)
    assert np.mean(lengths) == pytest.approx(12.5, abs=1)  # Beta(1, 1) is even
    with pytest.raises(ValueError, match="draw it with draw_cut"):
        apply_cut(images, Mix("cut", mix.share, mix.partner))


def test_waveforms_are_mixed_before_the_mel() -> None:
    image, settings = MelImage(SMALL, 16000), OFF.model_copy(update={"wave_mixup_alpha": 0.5})
    drawn = draw(4, image, CROP, settings, rng())
    assert drawn.mix is not None
    images, targets = augmented_images(image, crops(), torch.eye(4), drawn)
    assert torch.equal(images, image(apply_mix(crops(), drawn.mix)))
    assert torch.equal(targets, apply_mix(torch.eye(4), drawn.mix))


def test_of_several_ways_to_mix_a_batch_draws_one() -> None:
    image = MelImage(SMALL, 16000)
    settings = AugmentSettings(mixup_alpha=0.3, wave_mixup_alpha=0.3, cutmix_alpha=0.3)
    ways = [draw(2, image, CROP, settings, rng(seed)).mix for seed in range(30)]
    assert {mix.way for mix in ways if mix} == {"image", "wave", "cut"}
    two = OFF.model_copy(update={"mixup_alpha": 0.3, "cutmix_alpha": 0.3})
    drawn = [draw(2, image, CROP, two, rng(seed)).mix for seed in range(30)]
    assert {mix.way for mix in drawn if mix} == {"image", "cut"}


def test_gain_and_polarity_change_level_and_sign_alone() -> None:
    settings = OFF.model_copy(update={"gain_db": 6.0, "polarity": True})
    waves = draw_waves(np.full(400, CROP), settings, rng())
    assert waves is not None
    level_db = 20 * np.log10(np.abs(waves.gain))
    assert -6 <= level_db.min() < -5
    assert 5 < level_db.max() <= 6
    assert 150 < (waves.gain < 0).sum() < 250
    few = waves.take(np.arange(4))
    heard = apply_waves(crops(), few)
    assert torch.allclose(heard, crops() * torch.from_numpy(few.gain).float().view(4, 1, 1))


def test_noise_has_the_power_and_the_colour_that_were_drawn() -> None:
    waves = draw_waves(np.array([CROP]), OFF.model_copy(update={"noise_share": 1.0}), rng())
    assert waves is not None
    loud = torch.cat([tone(500.0), tone(1000.0)], dim=1)  # two channels
    for exponent in (0.0, 1.0, 2.0):
        drawn = replace(waves, noise_snr_db=np.array([12.0]), noise_exponent=np.array([exponent]))
        added = apply_waves(loud, drawn) - loud
        assert power_db(loud[0]) - power_db(added[0]) == pytest.approx(12.0, abs=0.01)
        spectrum = torch.fft.rfft(added[0]).abs().square().mean(0)
        low, high = (10 * float(spectrum[band].mean().log10()) for band in (slice(100, 200), slice(1600, 3200)))
        assert low - high == pytest.approx(exponent * 10 * np.log10(16), abs=1.5)  # four octaves
    assert torch.equal(coloured_noise(loud[0], 1.0, 5), coloured_noise(loud[0], 1.0, 5))
    assert not torch.equal(coloured_noise(loud[0], 1.0, 5), coloured_noise(loud[0], 1.0, 6))


def test_backgrounds_are_mixed_in_at_their_level_and_repeated_where_short() -> None:
    settings = OFF.model_copy(update={"background_share": 1.0})
    banks = Banks(backgrounds=(tone(3200.0, 1000)[0], tone(6000.0, 30000)[0]))
    waves = draw_waves(np.full(6, CROP), settings, rng(1), banks)
    assert waves is not None
    assert set(waves.background) == {0, 1}
    clips = tone(500.0).repeat(6, 1, 1)
    added = apply_waves(clips, waves, banks) - clips
    for row in range(6):
        snr_db = power_db(clips[row]) - power_db(added[row])
        assert snr_db == pytest.approx(waves.background_snr_db[row], abs=0.01)
        assert 5 <= snr_db <= 35
        peak_hz = 2 * int(torch.fft.rfft(added[row, 0]).abs().argmax())
        assert abs(peak_hz - (3200, 6000)[waves.background[row]]) <= 2


def test_a_room_convolves_and_keeps_power_and_place() -> None:
    clip = torch.zeros(1, 400)
    clip[0, 100] = 1.0
    room = torch.zeros(1, 80)
    room[0, [20, 30, 70]] = torch.tensor([1.0, 0.5, -0.25])  # direct sound after 20 samples, two echoes
    wet = reverberated(clip, room)[0]
    assert torch.allclose(wet[[110, 150]] / wet[100], torch.tensor([0.5, -0.25]), atol=1e-5)
    assert float(wet.square().sum()) == pytest.approx(1.0, rel=1e-5)
    assert int((wet.abs() > 1e-5).sum()) == 3
    clip, room = crops(1, 1, 300)[0], crops(2, 1, 120)[1] * torch.linspace(1, 0.5, 120)
    room[0, 15] = 4.0
    expected = np.convolve(clip[0], room[0, 15:])[:300]
    expected *= np.sqrt(float(clip.square().mean()) / np.mean(expected**2))
    assert reverberated(clip, room)[0].numpy() == pytest.approx(expected, abs=1e-4)


def test_shares_and_levels_are_drawn_as_they_were_asked_for() -> None:
    sound = tone(500.0, 1000)[0]
    shares = {"noise_share": 0.25, "background_share": 0.75, "reverb_share": 0.1}
    settings = OFF.model_copy(update={**shares, "noise_snr_db": 12.0, "background_snr_db": 3.0})
    waves = draw_waves(np.full(20_000, 1000), settings, rng(), Banks(rooms=(sound,) * 3, backgrounds=(sound,) * 2))
    assert waves is not None
    for drawn, share in ((waves.noise_seed, 0.25), (waves.background, 0.75), (waves.room, 0.1)):
        assert np.mean(drawn >= 0) == pytest.approx(share, abs=0.015)
    assert (set(waves.room), set(waves.background)) == ({-1, 0, 1, 2}, {-1, 0, 1})
    assert len(set(waves.noise_seed)) > 4000  # each has a noise of its own
    assert set(waves.gain) == {1.0}
    for values, low, high in (
        (waves.noise_snr_db, 12, 42),
        (waves.background_snr_db, 3, 33),
        (waves.noise_exponent, 0, 2),
        (waves.place, 0, 1),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    bare = draw_waves(np.full(100, 1000), settings, rng())
    assert bare is not None
    assert set(bare.room) == set(bare.background) == {-1}


def test_a_room_comes_first_then_a_background_then_noise_and_the_gain_last() -> None:
    banks = Banks(rooms=(crops(1, 1, 50)[0], crops(2, 1, 90)[1]), backgrounds=(tone(3200.0, 3000)[0],))
    clips = torch.cat([tone(500.0), tone(900.0)])
    waves = WaveParameters(
        samples=np.full(2, CROP),
        gain=np.array([-2.0, 1.0]),
        room=np.array([1, -1]),
        background=np.array([0, -1]),
        place=np.array([0.5, 0.5]),
        background_snr_db=np.array([10.0, 10.0]),
        noise_exponent=np.array([1.0, 1.0]),
        noise_snr_db=np.array([20.0, 20.0]),
        noise_seed=np.array([7, -1]),
    )
    heard = apply_waves(clips, waves, banks)
    assert torch.equal(heard[1], clips[1])
    wet = reverberated(clips[0], banks.rooms[1])
    sounding = torch.tensor(CROP - 1)  # the first sample of a tone is zero
    wet = wet + scaled_to_snr(banks.backgrounds[0].repeat(1, 4)[:, 1500 : 1500 + CROP], wet, sounding, 10.0)
    wet = wet + scaled_to_snr(coloured_noise(wet, 1.0, 7), wet, sounding, 20.0)
    assert torch.allclose(heard[0], -2 * wet, atol=1e-5)
    assert torch.equal(clips, torch.cat([tone(500.0), tone(900.0)]))  # what came in stays


def test_noise_does_not_hear_the_longest_of_its_batch_nor_the_zeros_around_a_clip() -> None:
    waves = draw_waves(np.full(1, CROP), OFF.model_copy(update={"noise_share": 1.0}), rng())
    assert waves is not None
    waves = replace(waves, noise_snr_db=np.array([10.0]))
    alone = torch.zeros(1, 1, CROP)
    alone[..., 100 : CROP // 2] = tone(500.0)[..., 100 : CROP // 2]
    longer = torch.cat([alone, torch.zeros(1, 1, 2 * CROP)], dim=2)
    heard = apply_waves(alone, waves)
    assert torch.equal(apply_waves(longer, waves)[..., :CROP], heard)
    assert not apply_waves(longer, waves)[..., CROP:].any()
    snr_db = power_db(alone[0, :, 100 : CROP // 2]) - power_db((heard - alone)[0])
    assert snr_db == pytest.approx(10.0, abs=0.01)
    room = torch.zeros(1, 400)
    room[0, [0, 120]] = torch.tensor([1.0, 0.5])
    wet = apply_waves(alone, replace(waves, room=np.zeros(1, int), noise_seed=np.array([-1])), Banks(rooms=(room,)))
    both = apply_waves(alone, replace(waves, room=np.zeros(1, int)), Banks(rooms=(room,)))
    noise_db = power_db((both - wet)[0])
    assert power_db(alone[0, :, 100 : CROP // 2]) - noise_db == pytest.approx(10.0, abs=0.05)  # a room adds no zeros


def test_noise_and_speed_drawn_for_a_part_are_those_of_the_whole_batch() -> None:
    image = MelImage(SMALL, 16000)
    settings = AugmentSettings(noise_share=1.0, polarity=True, speed=0.5)
    drawn = draw(8, image, CROP, settings, rng(3))
    assert drawn.warp is not None
    sizes = drawn.warp.samples
    sound = torch.randn(8, 1, int(sizes.max()), generator=torch.Generator().manual_seed(0))

    def rows(places: np.ndarray) -> torch.Tensor:
        taken = sound[torch.from_numpy(places)][..., : int(sizes[places].max())].clone()
        for row, place in zip(taken, places, strict=True):
            row[:, sizes[place] :] = 0
        return taken

    whole, targets = augmented_images(image, rows(np.arange(8)), torch.eye(8), drawn)
    for rank in (0, 1):
        own = np.arange(8)[rank::2]
        needed, part = drawn.for_items(own)
        found, found_targets = augmented_images(image, rows(needed), torch.eye(8)[needed], part)
        assert torch.allclose(found, whole[own], atol=1e-5)
        assert torch.equal(found_targets, targets[own])


@pytest.mark.parametrize(("name", "small", "enough"), [("speed", 0.007, 0.008), ("pitch_semitones", 0.12, 0.13)])
def test_a_warp_that_changes_nothing_is_refused(name: str, small: float, enough: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} {small} is less than half a step"):
        AugmentSettings(**{name: small})
    warp = draw_warp(64, 10, OFF.model_copy(update={name: enough}), SMALL, rng())
    assert len(set(warp.pitch)) == 3


def test_silence_gets_no_noise_and_stays_a_number() -> None:
    waves = draw_waves(np.full(2, 100), OFF.model_copy(update={"noise_share": 1.0, "gain_db": 6.0}), rng())
    assert waves is not None
    assert torch.equal(apply_waves(torch.zeros(2, 1, 100), waves), torch.zeros(2, 1, 100))


@pytest.mark.parametrize("power", [1, 2])
def test_a_filter_raises_and_lowers_mel_bins_and_nothing_else(power: int) -> None:
    image = MelImage(SMALL.model_copy(update={"normalise": "none", "top_db": 500.0, "power": power}), 16000)
    gain = draw_filter(4, 6.0, image.settings, rng())
    change_db = 20 / power / np.log(10) * (image(crops(), None, torch.from_numpy(gain)) - image(crops()))
    assert torch.allclose(change_db, torch.from_numpy(20 / power * np.log10(gain))[:, None, :, None], atol=1e-3)
    assert 3 < float(change_db.abs().max()) <= 6 + 1e-3
    assert float(change_db.diff(dim=2).abs().max()) < 3  # a line, without jumps
    points_db = rng().uniform(-6, 6, (4, 6))  # from the lowest bin to the highest
    assert 20 / power * np.log10(gain[:, [0, -1]]) == pytest.approx(points_db[:, [0, -1]], abs=1e-4)


def test_pitch_moves_a_tone_and_leaves_the_time() -> None:
    settings = MelSettings(n_mels=256, n_fft=4096, win_length=4096)
    front_end, warped = MelSpectrogram(settings, 16000), Warp(np.full(1, 160), np.array([1.2]), 51)
    loudest = int(front_end(tone(1200.0)).mean(-1).argmax())
    assert int(front_end(tone(1000.0), warped).mean(-1).argmax()) == loudest


def test_stretch_moves_a_click_and_leaves_the_pitch() -> None:
    front_end = MelSpectrogram(SMALL, 16000)
    click = torch.zeros(1, 1, 12000)
    click[..., 10240] = 1.0
    faster = front_end(click, Warp(np.full(1, 320), np.ones(1), 36))
    assert faster.shape == (1, 1, 32, 36)
    assert int(faster.sum(2).argmax()) == 10240 // 320
    both = torch.cat([tone(1000.0, 12000), tone(1000.0, 12000)])
    shapes = front_end(both, Warp(np.array([256, 300]), np.ones(2), 36))
    assert torch.equal(shapes.mean(-1).argmax(-1)[0], shapes.mean(-1).argmax(-1)[1])


def test_speed_is_a_tape_that_runs_faster() -> None:
    """Against the sound itself, resampled."""
    import soxr

    settings = MelSettings(n_mels=40, n_fft=2048, win_length=1024, f_max_hz=6000)
    seconds = np.arange(32000) / 16000
    chirp = np.sin(2 * np.pi * (500 * seconds + 300 * seconds**2)).astype(np.float32)
    factor = 1.25
    played = soxr.resample(chirp, 16000 * factor, 16000)  # each sample rate heard as 16 kHz
    front_end = MelSpectrogram(settings, 16000)
    frames = 1 + len(played) // 160
    truth = front_end(torch.from_numpy(played)[None, None])[0, 0]
    warp = Warp(np.array([round(160 * factor)]), np.array([factor]), frames)
    ours = front_end(torch.from_numpy(chirp)[None, None], warp)[0, 0]
    assert ours.shape == truth.shape
    inner = slice(6, frames - 6)
    assert (ours[:, inner].argmax(0) - truth[:, inner].argmax(0)).abs().max() <= 1


def test_nothing_warped_is_the_plain_image_and_items_do_not_see_each_other() -> None:
    front_end = MelSpectrogram(SMALL, 16000)
    plain = Warp(np.full(3, 256), np.ones(3), 1 + CROP // 256)
    assert torch.equal(front_end(crops(3, 2), plain), front_end(crops(3, 2)))
    mixed = Warp(np.array([256, 280, 230]), np.array([1.0, 0.9, 1.1]), 1 + CROP // 256)
    sounds = crops(3, 2, int(mixed.samples.max()))
    together = front_end(sounds, mixed)
    for row in range(3):
        alone = front_end(sounds[row : row + 1], mixed.take(np.array([row])))
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("power", [1, 2])
def test_row_by_row_and_all_at_once_are_the_same_numbers(power: int) -> None:
    """The first is for processors, the second for devices that want many rows at once."""
    front_end = MelSpectrogram(MelSettings(win_length=700, power=power), 16000)
    warp = Warp(np.array([160, 181, 140, 181]), np.array([1.0, 1.13, 0.875, 1.13]), 60)
    rows = crops(4, 2, int(warp.samples.max())).flatten(0, 1)
    for one, other in (
        (front_end._mel_row_by_row(rows, 2, warp), front_end._mel_grouped(rows, 2, warp)),
        (front_end._mel_row_by_row(rows, 2, None), front_end._mel(rows)),
    ):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.max()))
    assert not torch.allclose(
        front_end._mel_row_by_row(rows, 2, warp)[2], front_end._mel_row_by_row(rows, 2, None)[2, :, :60]
    )


def test_drawn_warps_stay_within_what_was_asked_for() -> None:
    settings = OFF.model_copy(update={"speed": 0.2})
    warp = draw_warp(1000, 301, settings, MelSettings(), rng())
    assert 1 / 1.2 - 0.01 <= warp.pitch.min() < 0.86
    assert 1.17 < warp.pitch.max() <= 1.21
    assert np.abs(warp.hop_length - 160 * warp.pitch).max() <= 0.5
    tempo = draw_warp(100, 301, OFF.model_copy(update={"stretch": 0.2}), MelSettings(), rng())
    assert set(tempo.pitch) == {1.0}
    assert len(set(tempo.hop_length)) > 10
    pitch = draw_warp(100, 301, OFF.model_copy(update={"pitch_semitones": 2.0}), MelSettings(), rng())
    assert set(pitch.hop_length) == {160}
    assert np.abs(12 * np.log2(pitch.pitch)).max() == pytest.approx(2.0)


def test_everything_off_is_the_plain_image_and_a_seed_repeats() -> None:
    image, targets = MelImage(SMALL, 16000), torch.eye(4)

    def augmented(settings: AugmentSettings, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = draw(4, image, CROP, settings, rng(seed))
        samples = int(drawn.warp.samples.max()) if drawn.warp else CROP
        return augmented_images(image, crops(samples=samples), targets, drawn)

    same, same_targets = augmented(OFF, 0)
    assert torch.equal(same, image(crops()))
    assert torch.equal(same_targets, targets)
    on = AugmentSettings(time_mask_share=0.5, speed=0.1, noise_share=0.5, filter_db=6)
    first, second, other = (augmented(on, seed) for seed in (3, 3, 4))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
    assert torch.allclose(first[1].sum(1), torch.ones(4))


EVERYTHING = {
    **{"speed": 0.1, "stretch": 0.1, "pitch_semitones": 1.0, "gain_db": 6.0, "polarity": True, "noise_share": 0.5},
    **{"filter_db": 6.0, "time_mask_share": 0.4, "freq_mask_share": 0.4, "mixup_alpha": 0.0},
}


@pytest.mark.parametrize("mixing", [{}, {"mixup_alpha": 0.5}, {"wave_mixup_alpha": 0.5}, {"cutmix_alpha": 0.5}])
@pytest.mark.parametrize("processes", [2, 3])
def test_a_part_of_the_batch_is_augmented_as_in_the_whole(processes: int, mixing: dict[str, float]) -> None:
    image, targets = MelImage(SMALL, 16000), torch.eye(11)
    settings = AugmentSettings.model_validate({**EVERYTHING, **mixing})
    drawn = draw(11, image, CROP, settings, rng(1))
    assert drawn.warp is not None
    sounds = crops(11, 1, int(drawn.warp.samples.max()))
    whole_images, whole_targets = augmented_images(image, sounds, targets, drawn)
    assert not torch.equal(whole_images, image(sounds[..., :CROP]))
    for rank in range(processes):
        own = np.arange(11)[rank::processes]
        needed, part = drawn.for_items(own)
        assert set(own) <= set(needed)
        assert len(needed) <= (2 if mixing else 1) * len(own)
        part_images, part_targets = augmented_images(image, sounds[needed], targets[needed], part)
        # Rows go through the matrix product in other company, which rounds otherwise.
        assert torch.allclose(part_images, whole_images[own], atol=1e-4)
        assert torch.equal(part_targets, whole_targets[own])


def test_a_part_of_a_batch_that_nothing_is_done_to_is_left_as_it_is() -> None:
    needed, part = draw(5, MelImage(SMALL, 16000), CROP, OFF, rng()).for_items(np.array([3, 1]))
    assert needed.tolist() == [3, 1]
    assert (part.waves, part.warp, part.band_gain, part.mix) == (None, None, None, None)
    assert part.freq.starts.shape == part.time.starts.shape == (2, 0)


EACH: dict[str, Callable[[Augmentation], object]] = {
    "speed": lambda drawn: drawn.warp,
    "stretch": lambda drawn: drawn.warp,
    "pitch_semitones": lambda drawn: drawn.warp,
    "gain_db": lambda drawn: drawn.waves,
    "noise_share": lambda drawn: drawn.waves,
    "filter_db": lambda drawn: drawn.band_gain,
    "mixup_alpha": lambda drawn: drawn.mix,
}


@pytest.mark.parametrize("name", EACH)
def test_each_setting_turns_on_its_own_part_alone(name: str) -> None:
    drawn = draw(4, MelImage(SMALL, 16000), CROP, OFF.model_copy(update={name: 0.5}), rng())
    parts = {"warp": drawn.warp, "waves": drawn.waves, "band_gain": drawn.band_gain, "mix": drawn.mix}
    mine = EACH[name](drawn)
    assert mine is not None
    assert [part for part in parts.values() if part is not None] == [mine]


def test_a_quiet_sound_is_mixed_in_at_its_level_too() -> None:
    clip, quiet = crops(1)[0], 1e-4 * crops(2)[1]
    added = scaled_to_snr(quiet, clip, torch.tensor(clip.shape[1]), 10.0)
    assert power_db(clip) - power_db(added) == pytest.approx(10.0, abs=0.01)
    assert torch.allclose(reverberated(quiet, torch.ones(1, 1)), quiet)


def test_rooms_alone_are_heard() -> None:
    waves = draw_waves(
        np.full(3, CROP), OFF.model_copy(update={"reverb_share": 1.0}), rng(), Banks(rooms=(tone(1.0)[0],))
    )
    assert waves is not None
    assert waves.room.tolist() == [0, 0, 0]


def test_a_clip_sounds_where_any_of_its_channels_does() -> None:
    waves = draw_waves(np.full(1, CROP), OFF.model_copy(update={"noise_share": 1.0}), rng())
    assert waves is not None
    clip = torch.zeros(1, 2, CROP)
    clip[0, 0, 100 : CROP // 4] = tone(500.0)[0, 0, 100 : CROP // 4]
    clip[0, 1, CROP // 4 : CROP // 2] = tone(500.0)[0, 0, CROP // 4 : CROP // 2]
    added = apply_waves(clip, replace(waves, noise_snr_db=np.array([10.0]))) - clip
    assert power_db(clip[0, :, 100 : CROP // 2]) - power_db(added[0]) == pytest.approx(10.0, abs=0.02)


def test_a_room_is_its_first_channel_from_the_loudest_sample_whatever_its_sign() -> None:
    clip, room = torch.zeros(1, 400), torch.zeros(2, 80)
    clip[0, 100] = 1.0
    room[0, [20, 30]] = torch.tensor([-1.0, 0.5])
    room[1, 40] = 1.0
    wet = reverberated(clip, room)[0]
    assert (int(wet.argmin()), int(wet.argmax())) == (100, 110)
    assert wet[[100, 110]].tolist() == pytest.approx([-(0.8**0.5), 0.2**0.5], abs=1e-5)
