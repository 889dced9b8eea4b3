"""Our networks in the reference's own layout: Conv3d on N, C, T, H, W memory, every gradient by autograd.

The baseline where MMAction2 itself cannot run: same weights, same function, the kernels that its modules call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch.nn.functional as F
from torch import Tensor

from tpn.models import layers
from tpn.models.folding import fold_time, unfold_time
from tpn.models.layers import ConvModule, TemporalConv, TemporalShift


@contextmanager
def reference_layout() -> Iterator[None]:
    """Every network that runs while this lasts runs so, whichever it is; one made by `optimize` has its own kernels."""
    with (
        mock.patch.object(layers, "trains_on_cpu", lambda *_: False),
        mock.patch.object(ConvModule, "forward", unfolded),
    ):
        yield


def unfolded(self: ConvModule, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """ConvModule.forward without folding: Conv3d (in a 2-D backbone Conv2d) and batch norm on N, C, T, H, W memory."""
    conv, t = self.conv, x.shape[2]
    if isinstance(conv, TemporalShift):
        conv, x = conv.net, unfold_time(conv.shift(fold_time(x)), t)
    if isinstance(conv, TemporalConv):
        x = F.conv3d(x.contiguous(), conv.weight, padding=(1, 0, 0), groups=conv.groups)
    elif conv.weight.dim() == 5:
        stride, padding = (1, conv.stride, conv.stride), (0, conv.padding, conv.padding)
        x = F.conv3d(x.contiguous(), conv.weight, stride=stride, padding=padding, groups=conv.groups)
    else:
        x = F.conv2d(
            x.transpose(1, 2).flatten(0, 1).contiguous(), conv.weight, stride=conv.stride, padding=conv.padding
        )
    if self.bn is not None:
        bn = self.bn
        x = F.batch_norm(
            x, bn.running_mean, bn.running_var, bn.weight, bn.bias, bn.training, bn.momentum or 0.0, bn.eps
        )
    x = x if x.dim() == 5 else unfold_time(x, t).contiguous()
    x = x if residual is None else x + residual
    return x.relu() if self.activation else x
