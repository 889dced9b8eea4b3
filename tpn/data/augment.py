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
    """One sample, (V, T, H, W, 3); colours apart in memory while it lasts: (3, V, T, H, W) float."""
    rgb = views.movedim(-1, 0).to(torch.float32, memory_format=torch.contiguous_format)
    for step in order:
        if factors[step] != NO_JITTER[step]:
            rgb = OPERATIONS[step](rgb, factors[step])
    return rgb.clamp(0, 255).to(torch.uint8).movedim(0, -1).contiguous()


def _gray(rgb: Tensor) -> Tensor:
    red, green, blue = LUMA
    return red * rgb[0] + green * rgb[1] + blue * rgb[2]


def adjust_brightness(rgb: Tensor, factor: float) -> Tensor:
    """Scale every value."""
    return rgb * factor


def adjust_contrast(rgb: Tensor, factor: float) -> Tensor:
    """Scale the distance from the frame's mean grey."""
    return torch.lerp(_gray(rgb).mean(dim=(-2, -1), keepdim=True), rgb, factor)


def adjust_saturation(rgb: Tensor, factor: float) -> Tensor:
    """Scale the distance from the pixel's own grey."""
    return torch.lerp(_gray(rgb), rgb, factor)


def adjust_hue(rgb: Tensor, factor: float) -> Tensor:
    """Turn the hue by int(factor * 255) of OpenCV's 180 steps of two degrees; the values pass through 8 bits.

    RGB to HSV is OpenCV's fixed-point arithmetic, exact in float32; HSV to RGB is cut off, not rounded, as it is there
    in whole blocks of 32 pixels.
    """
    red, green, blue = rgb = rgb.clamp(0, 255).floor()
    value = rgb.amax(0)
    chroma = value - rgb.amin(0)
    saturation = torch.floor((chroma * torch.round(255 * 4096 / value.clamp(min=1)) + 2048) / 4096)
    sector = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    sector = torch.where(value == red, green - blue, sector)
    hue = torch.floor((sector * torch.round(30 * 4096 / chroma.clamp(min=1)) + 2048) / 4096)
    hue = (hue + int(factor * 255)) % 180 / 30  # in sixths of the circle: red 0, green 2, blue 4
    lack = torch.stack([2 - (hue - 3).abs(), (hue - 2).abs() - 1, (hue - 4).abs() - 1]).clamp_(0, 1)
    return (value - value * saturation / 255 * lack).floor_()


OPERATIONS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
