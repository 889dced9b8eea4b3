"""The classification head: average over time and space, dropout, one linear layer."""

from torch import Tensor, nn

from tpn.models.layers import global_average_pool


class Head(nn.Module):
    """TPN's head and the baselines' alike: the reference's full-convolution test equals pooling first, since both are linear."""

    def __init__(self, in_channels: int, *, num_classes: int, dropout_ratio: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> logits (N, num_classes)."""
        return self.fc_cls(self.dropout(global_average_pool(x)))
