import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earsight.mel.augment import Masks, Mix, apply_masks, apply_mix, augment, draw, draw_masks, draw_mix
from earsight.mel.settings import AugmentSettings


def test_masks_cover_just_what_was_drawn() -> None:
    images = torch.arange(2 * 1 * 4 * 6, dtype=torch.float32).reshape(2, 1, 4, 6)
    masks = Masks(np.array([[1], [0]]), np.array([[2], [0]]))
    masked = apply_masks(images, masks, axis=3)
    assert torch.equal(masked[0, 0, :, 1:3], images[0].mean().expand(4, 2))
    assert torch.equal(masked[0, 0, :, [0, 3, 4, 5]], images[0, 0, :, [0, 3, 4, 5]])
    assert torch.equal(masked[1], images[1])
    by_band = apply_masks(images, masks, axis=2)
    assert torch.equal(by_band[0, 0, 1:3], images[0].mean().expand(2, 6))
    assert torch.equal(by_band[0, 0, [0, 3]], images[0, 0, [0, 3]])


@given(length=st.integers(1, 400), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_drawn_masks_lie_inside_and_are_no_longer_than_said(length: int, share: float, seed: int) -> None:
    masks = draw_masks(8, 2, length, share, np.random.default_rng(seed))
    assert (masks.starts >= 0).all()
    assert (masks.starts + masks.lengths <= length).all()
    assert masks.lengths.max() <= share * length


def test_mix_is_the_weighted_sum_for_images_and_targets() -> None:
    mix = Mix(np.array([0.75, 1.0], dtype=np.float32), np.array([1, 0]))
    assert torch.allclose(apply_mix(torch.eye(2), mix), torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    assert torch.allclose(apply_mix(images, mix), torch.tensor([0.25, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))


def test_an_item_stays_mostly_itself() -> None:
    mix = draw_mix(1000, 0.3, np.random.default_rng(0))
    assert mix.share.min() >= 0.5
    assert sorted(mix.partner) == list(range(1000))


def test_everything_off_is_the_identity_and_a_seed_repeats() -> None:
    images, targets = torch.randn(4, 1, 8, 10), torch.eye(4)
    off = AugmentSettings(mixup_alpha=0, time_masks=0, freq_masks=0)
    same, same_targets = augment(images, targets, draw(4, (8, 10), off, np.random.default_rng(0)))
    assert torch.equal(same, images)
    assert torch.equal(same_targets, targets)
    on = AugmentSettings(time_mask_share=0.5)
    first, second, other = (
        augment(images, targets, draw(4, (8, 10), on, np.random.default_rng(seed))) for seed in (3, 3, 4)
    )
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
    assert torch.allclose(first[1].sum(1), torch.ones(4))


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("processes", [2, 3])
def test_a_part_of_the_batch_is_augmented_as_in_the_whole(processes: int, alpha: float) -> None:
    images, targets = torch.randn(11, 1, 16, 20, generator=torch.Generator().manual_seed(0)), torch.eye(11)
    settings = AugmentSettings(time_mask_share=0.4, freq_mask_share=0.4, mixup_alpha=alpha)
    drawn = draw(11, (16, 20), settings, np.random.default_rng(1))
    whole_images, whole_targets = augment(images, targets, drawn)
    assert not torch.equal(whole_images, images)
    for rank in range(processes):
        own = np.arange(11)[rank::processes]
        needed, part = drawn.of(own)
        assert set(own) <= set(needed)
        assert len(needed) <= (2 if alpha else 1) * len(own)
        part_images, part_targets = augment(images[needed], targets[needed], part)
        assert torch.equal(part_images, whole_images[own])
        assert torch.equal(part_targets, whole_targets[own])
