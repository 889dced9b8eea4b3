"""Flip, colour jitter and normalisation, batched on the device that trains.

Shapes: B videos, V views, T frames, H x W pixels. Clips come as uint8 (B, V, T, H, W, 3), as the workers made them, and
leave as float32 (B, V, 3, T, H, W): a permuted view of the same memory order N, T, H, W, C (torch.channels_last_3d).
"""

import torch
from torch import Tensor

from tpn.data.transforms import NO_JITTER

RGB = tuple[float, float, float]
LUMA = (0.2989, 0.587, 0.114)


def prepare_clips(
    views: Tensor,
    flip: Tensor,
    jitter_factors: Tensor,
    jitter_order: Tensor,
    *,
    mean: RGB,
    std: RGB,
) -> Tensor:
    """What the network is shown of a training batch: mirrored, jittered and normalised as each sample drew it.

    Args:
        views: (B, V, T, H, W, 3) uint8 on the device that trains.
        flip: (B,) bool; jitter_factors: (B, 4); jitter_order: (B, 4): fields of the batch, best left on the CPU.

    Returns:
        (B, V, 3, T, H, W) float32.
    """
    return normalize(color_jitter(mirror(views, flip), jitter_factors, jitter_order), mean=mean, std=std)


def mirror(views: Tensor, flip: Tensor) -> Tensor:
    """Swap left and right in the samples where `flip` (B,) is set."""
    if not flip.any():
        return views
    return torch.where(flip.to(views.device).view(-1, 1, 1, 1, 1, 1), views.flip(-2), views)


def normalize(views: Tensor, *, mean: RGB, std: RGB) -> Tensor:
    """(..., T, H, W, 3) uint8 to (..., 3, T, H, W) float32: subtract the mean, divide by the standard deviation."""
    width = views.shape[-2]
    rows = views.flatten(-2).float()  # (..., T, H, W*3): long rows are several times faster than triples
    rows.sub_(torch.tensor(mean * width, device=views.device)).div_(torch.tensor(std * width, device=views.device))
    return rows.unflatten(-1, (width, 3)).movedim(-1, -4)


def color_jitter(views: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of each sample as MMAction2 0.24.1's ColorJitter does.

    Args:
        views: (B, V, T, H, W, 3) uint8.
        factors: (B, 4) of brightness, contrast, saturation, hue; NO_JITTER leaves a sample as it is.
        order: (B, 4), the operations' numbers in the order to apply them.

    Returns:
        uint8 like views; hue within one level of OpenCV's 8-bit conversion.
    """
    if (factors == torch.tensor(NO_JITTER)).all():
        return views
    samples = zip(views, factors.tolist(), order.tolist(), strict=True)
    return torch.stack([_jitter_one(sample, factor, steps) for sample, factor, steps in samples])


def _jitter_one(views: Tensor, factors: list[float], order: list[int]) -> Tensor:
    """One sample, (V, T, H, W, 3); colours apart in memory while it lasts: (3, V, T, H, W) float, changed in place."""
    rgb = views.movedim(-1, 0).to(torch.float32, memory_format=torch.contiguous_format)
    for step in order:
        if factors[step] != NO_JITTER[step]:
            OPERATIONS[step](rgb, factors[step])
    jittered = torch.empty_like(views, memory_format=torch.contiguous_format)
    jittered.movedim(-1, 0).copy_(rgb.clamp_(0, 255))
    return jittered


def adjust_brightness(rgb: Tensor, factor: float) -> None:
    """Scale every value."""
    rgb.mul_(factor)


def adjust_contrast(rgb: Tensor, factor: float) -> None:
    """Scale the distance from the frame's mean grey, which is the grey of its mean colour."""
    luma = torch.tensor(LUMA, device=rgb.device).view(3, 1, 1, 1, 1)
    grey = (rgb.mean(dim=(-2, -1), keepdim=True) * luma).sum(dim=0)
    rgb.mul_(factor).add_(grey, alpha=1 - factor)


def adjust_saturation(rgb: Tensor, factor: float) -> None:
    """Scale the distance from the pixel's own grey."""
    red, green, blue = LUMA
    grey = (rgb[0] * red).add_(rgb[1], alpha=green).add_(rgb[2], alpha=blue)
    rgb.mul_(factor).add_(grey, alpha=1 - factor)


def adjust_hue(rgb: Tensor, factor: float) -> None:
    """Turn the hue by int(factor * 255) of OpenCV's 180 steps of two degrees; the values pass through 8 bits.

    RGB to HSV is OpenCV's fixed-point arithmetic, exact in float32; HSV to RGB is cut off, not rounded, as it is there
    in whole blocks of 32 pixels.
    """
    red, green, blue = rgb.clamp_(0, 255).floor_()
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    sector = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    sector = torch.where(value == red, green - blue, sector)
    hue = _divided(sector, chroma, scale=30)
    hue.add_(int(factor * 255)).remainder_(180).div_(30)  # in sixths of the circle: red 0, green 2, blue 4
    span = _divided(chroma, value, scale=255).mul_(value).div_(255)  # saturation * value
    lacks = (hue - 3).abs_().neg_().add_(2), (hue - 2).abs_().sub_(1), (hue - 4).abs_().sub_(1)
    for colour, lack in zip(rgb, lacks, strict=True):  # red, green and blue are not read any more
        torch.sub(value, lack.clamp_(0, 1).mul_(span), out=colour)
    rgb.floor_()


def _divided(numerator: Tensor, denominator: Tensor, *, scale: int) -> Tensor:
    """round(scale * numerator / denominator) by OpenCV's table of 12-bit reciprocals."""
    reciprocal = (scale * 4096 / denominator.clamp(min=1)).round_()
    return reciprocal.mul_(numerator).add_(2048).mul_(1 / 4096).floor_()


OPERATIONS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
