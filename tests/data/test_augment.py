"""Flip, jitter and normalisation of whole batches against OpenCV and NumPy, frame by frame."""

import cv2
import numpy as np
import pytest
import torch

from tpn.data.augment import color_jitter, mirror, normalize, prepare_clips
from tpn.data.transforms import NO_JITTER, random_jitter

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    """(B=4, V=2, T=3, 20, 32, 3) uint8: smooth colours, with greys, black, white and pure colours among them.

    32 wide: OpenCV turns HSV into RGB in blocks of 32 pixels, cutting off, and rounds in what is left of a row.
    """
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 32, 3), dtype=np.uint8)
    frames = np.stack([cv2.GaussianBlur(frame, (3, 3), 1) for frame in noise])
    frames[:, :3] = frames[:, :3, :, :1]
    frames[:, 3, :7] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 0, 0], [254, 255, 254]]
    return torch.from_numpy(frames).reshape(4, 2, 3, 20, 32, 3)


def jitter_one(image: np.ndarray, factors: list[float], order: list[int]) -> np.ndarray:
    """MMAction2 0.24.1's ColorJitter of one frame, with OpenCV's colour conversion."""
    brightness, contrast, saturation, hue = factors
    grey = np.array([0.2989, 0.587, 0.114], np.float32)
    image = image.astype(np.float32)
    for step in order:
        if step == 0:
            image = image * brightness
        elif step == 1:
            image = contrast * image + (1 - contrast) * (image @ grey).mean()
        elif step == 2:
            image = saturation * image + (1 - saturation) * (image @ grey)[..., None]
        elif hue != 0:
            hsv = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(int)
            hsv[..., 0] = (hsv[..., 0] + int(hue * 255)) % 180
            image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def differences(views: torch.Tensor, factors: list[list[float]], order: list[list[int]]) -> np.ndarray:
    jittered = color_jitter(views, torch.tensor(factors), torch.tensor(order)).numpy()
    expected = [
        [[jitter_one(frame, f, o) for frame in view] for view in sample]
        for sample, f, o in zip(views.numpy(), factors, order, strict=True)
    ]
    return np.abs(jittered.astype(int) - np.array(expected, dtype=int))


@pytest.mark.parametrize("hue", [-0.1, -0.004, 0.003, 0.05, 0.1])
def test_hue_alone_is_opencvs_within_one_level(views, hue):
    difference = differences(views, [[1, 1, 1, hue]] * 4, [[0, 1, 2, 3]] * 4)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("operation", [0, 1, 2])
def test_brightness_contrast_and_saturation_are_the_references(views, operation):
    factors = [[1.0 + (0.4 if step == operation else 0) for step in range(3)] + [0.0]] * 4
    difference = differences(views, factors, [[0, 1, 2, 3]] * 4)
    assert difference.max() <= 1  # cut off, not rounded: the last bit of the arithmetic decides now and then
    assert (difference > 0).mean() < 0.01


def test_jitter_in_any_order_is_the_references(views):
    """Hue first is exact to a level; a level before hue can turn a pixel by a step, which only few pixels show."""
    rng = np.random.default_rng(1)
    for _ in range(12):
        draws = [random_jitter(rng) for _ in range(4)]
        difference = differences(views, [f.tolist() for f, _ in draws], [o.tolist() for _, o in draws])
        assert (difference <= 1).mean() > 0.99
        assert difference.mean() < 0.1


def test_order_of_the_operations_matters(views):
    factors = torch.tensor([[1.4, 0.6, 1.4, 0.1]] * 4)
    one, other = (color_jitter(views, factors, torch.tensor([order] * 4)) for order in ([0, 1, 2, 3], [3, 2, 1, 0]))
    assert (one != other).any()


def test_contrast_uses_each_frames_own_mean():
    views = torch.stack([torch.full((4, 4, 3), 50), torch.full((4, 4, 3), 200)]).to(torch.uint8)[None, None]
    jittered = color_jitter(views, torch.tensor([[1.0, 0.5, 1.0, 0.0]]), torch.tensor([[0, 1, 2, 3]]))
    assert (jittered.int() - views.int()).abs().max() <= 1


def test_samples_are_jittered_independently(views):
    factors = torch.tensor([NO_JITTER, (1.5, 1, 1, 0), NO_JITTER, (0.5, 1, 1, 0)])
    jittered = color_jitter(views, factors, torch.arange(4).repeat(4, 1))
    assert torch.equal(jittered[0], views[0])
    assert torch.equal(jittered[2], views[2])
    assert torch.equal(jittered[3], views[3] // 2)


def test_no_jitter_returns_the_views_themselves(views):
    assert color_jitter(views, torch.tensor([NO_JITTER] * 4), torch.arange(4).repeat(4, 1)) is views


def test_only_flipped_samples_are_mirrored(views):
    mirrored = mirror(views, torch.tensor([True, False, True, False]))
    assert torch.equal(mirrored[1], views[1])
    assert torch.equal(mirrored[0, 1, 2, 5, 0], views[0, 1, 2, 5, 31])
    assert torch.equal(mirrored[2].flip(-2), views[2])


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation(views):
    expected = (views.numpy().astype(np.float64) - MEAN) / STD
    clips = normalize(views, mean=MEAN, std=STD)
    assert clips.dtype == torch.float32
    assert clips.shape == (4, 2, 3, 3, 20, 32)
    np.testing.assert_allclose(clips.numpy(), np.moveaxis(expected, -1, 2), rtol=0, atol=1e-6)


def test_clips_are_channels_last_in_memory(views):
    clips = prepare_clips(
        views,
        torch.tensor([True, False, True, False]),
        torch.tensor([[1.2, 0.8, 1.1, 0.05]] * 4),
        torch.tensor([[2, 0, 3, 1]] * 4),
        mean=MEAN,
        std=STD,
    )
    assert clips.shape == (4, 2, 3, 3, 20, 32)
    assert clips.flatten(0, 1).is_contiguous(memory_format=torch.channels_last_3d)


def test_preparing_does_not_touch_the_batch(views):
    before = views.clone()
    prepare_clips(
        views,
        torch.tensor([True] * 4),
        torch.tensor([[1.2, 0.8, 1.1, 0.05]] * 4),
        torch.tensor([[2, 0, 3, 1]] * 4),
        mean=MEAN,
        std=STD,
    )
    assert torch.equal(views, before)


@pytest.mark.gpu
def test_cuda_prepares_the_same_clips(views):
    draws = [random_jitter(np.random.default_rng(seed)) for seed in range(4)]
    fields = (
        torch.tensor([True, False, True, False]),
        torch.from_numpy(np.stack([factors for factors, _ in draws])),
        torch.from_numpy(np.stack([order for _, order in draws])),
    )
    here = prepare_clips(views, *fields, mean=MEAN, std=STD)
    there = prepare_clips(views.cuda(), *fields, mean=MEAN, std=STD).cpu()
    levels = (here - there).abs() * 57  # in steps of 1/255
    assert (levels > 0.5).float().mean() < 0.01
