"""Four views of the same memory: time folded into the batch, space folded into one axis, and back.

N batch · C channels · T time · H, W space; memory order N, T, H, W, C throughout, so nothing is copied
"""

from torch import Tensor


def fold_time(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N*T, C, H, W), channels last."""
    n, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(n * t, h, w, c).permute(0, 3, 1, 2)


def unfold_time(x: Tensor, t: int) -> Tensor:
    """(N*T, C, H, W) -> (N, C, T, H, W)."""
    nt, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(nt // t, t, h, w, c).permute(0, 4, 1, 2, 3)


def fold_space(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, C, T, H*W), channels last."""
    n, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(n, t, h * w, c).permute(0, 3, 1, 2)


def unfold_space(x: Tensor, h: int, w: int) -> Tensor:
    """(N, C, T, H*W) -> (N, C, T, H, W)."""
    n, c, t, _ = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, t, h, w, c).permute(0, 4, 1, 2, 3)
