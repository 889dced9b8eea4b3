"""Crops and sizes of frames, uint8 on the loader's workers; what they draw comes from the generator they are given."""

from typing import NamedTuple

import cv2
import numpy as np

ATTEMPTS = 10  # boxes random_resized_crop_box draws before it settles for the centre
BRIGHTNESS = CONTRAST = SATURATION = 0.5
HUE = 0.1
NO_JITTER = (1.0, 1.0, 1.0, 0.0)
PLACES = [(column, row) for column in range(5) for row in range(5) if column % 2 == row % 2]  # in quarters of the room


class Box(NamedTuple):
    """A rectangle of pixels: rows top .. bottom-1, columns left .. right-1."""

    left: int
    top: int
    right: int
    bottom: int
    mirrored: bool = False
    """Whether left and right are swapped once it is cut."""

    def cut(self, frame: np.ndarray) -> np.ndarray:
        """The rectangle of a frame: (H, W, 3) to (bottom-top, right-left, 3), without a copy."""
        part = frame[self.top : self.bottom, self.left : self.right]
        return part[:, ::-1] if self.mirrored else part


def random_resized_crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    area_range: tuple[float, float] = (0.08, 1.0),
    aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A box of random area and shape at a random place (the reference's RandomResizedCrop; Szegedy et al., CVPR 2015).

    Area is uniform, aspect ratio (width / height) log-uniform; of ten candidates the first that fits is taken, and the
    largest centred square if none does.
    """
    ratios = np.exp(rng.uniform(*np.log(aspect_ratio_range), size=ATTEMPTS))
    areas = rng.uniform(*area_range, size=ATTEMPTS) * (height * width)
    widths = np.round(np.sqrt(areas * ratios)).astype(int)
    heights = np.round(np.sqrt(areas / ratios)).astype(int)
    fits = np.flatnonzero((widths <= width) & (heights <= height) & (widths > 0) & (heights > 0))
    if not fits.size:
        return center_box(height, width, min(height, width))
    w, h = int(widths[fits[0]]), int(heights[fits[0]])
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return Box(left, top, left + w, top + h)


def multi_scale_crop_box(
    height: int, width: int, rng: np.random.Generator, scales: tuple[float, ...], size: int
) -> Box:
    """A box whose sides are scales of the frame's shorter side, at one of 13 places (TSN's and TSM's MultiScaleCrop).

    Width and height are the same or neighbouring scales; a side within two pixels of the network's `size` becomes it.
    The places are the corners, the middles of the sides and the centre, and the four halfway from it to the corners.
    """
    shorter = min(height, width)
    sides = [max(1, int(shorter * scale)) for scale in scales]
    sides = [size if abs(side - size) < 3 and size <= shorter else side for side in sides]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    w, h = pairs[rng.integers(len(pairs))]
    column, row = PLACES[rng.integers(len(PLACES))]
    left, top = (width - w) // 4 * column, (height - h) // 4 * row
    return Box(left, top, left + w, top + h)


def center_box(height: int, width: int, size: int) -> Box:
    """The centred square of this side."""
    left, top = (width - size) // 2, (height - size) // 2
    return Box(left, top, left + size, top + size)


def three_boxes(height: int, width: int, size: int) -> list[Box]:
    """Squares along the longer side in the reference's order: left, right, middle (or top, bottom, middle)."""
    middle = center_box(height, width, size)
    if width >= height:
        lefts = (0, 2 * middle.left, middle.left)
        return [middle._replace(left=left, right=left + size) for left in lefts]
    tops = (0, 2 * middle.top, middle.top)
    return [middle._replace(top=top, bottom=top + size) for top in tops]


def corner_boxes(height: int, width: int, size: int) -> list[Box]:
    """Squares in the four corners and the centre, on a grid of quarters as the reference's TenCrop has it."""
    right, down = (width - size) // 4, (height - size) // 4
    places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
    corners = [(right * column, down * row) for column, row in places]
    return [Box(left, top, left + size, top + size) for left, top in corners]


def resize(frame: np.ndarray, height: int, width: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) uint8 to (height, width, 3): bilinear, not antialiased, as the published weights were tested.

    out: a contiguous array of that size to write to; what it held is gone.

    Raises MemoryError, for which OpenCV has an error of its own.
    """
    if frame.shape[:2] != (height, width):
        try:
            return cv2.resize(frame, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
        except cv2.error as error:
            if error.code == cv2.Error.STS_NO_MEM:
                raise MemoryError from error
            raise
    if out is None:
        return frame
    out[:] = frame
    return out


def resize_short_side(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """Resize so that the shorter side is `short_side` (None: leave it); the longer one is rounded half up."""
    if short_side is None:
        return frame
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    return resize(frame, int(height * scale + 0.5), int(width * scale + 0.5))


def random_jitter(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What one sample's colour jitter does: factors (4,) float32 and the order (4,) int64 of their operations.

    The factors are brightness, contrast, saturation (around 1) and hue (around 0). The reference draws the order once
    per process, so a run depends on how many processes it has; here every sample draws its own.
    """
    spread = np.array([BRIGHTNESS, CONTRAST, SATURATION, HUE])
    factors = NO_JITTER + spread * rng.uniform(-1, 1, size=4)
    return factors.astype(np.float32), rng.permutation(4)


def no_jitter() -> tuple[np.ndarray, np.ndarray]:
    """What random_jitter gives, for a sample whose colours stay as they are."""
    return np.array(NO_JITTER, dtype=np.float32), np.arange(4)
