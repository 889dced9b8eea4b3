"""The classification head: average over space and time, dropout, one linear layer."""

from torch import Tensor, nn

from tpn.models.layers import global_average_pool


class Head(nn.Module):
    """TPN's head, and the baselines'. The reference's full-convolution test is linear: it equals pooling first."""

    def __init__(self, in_channels: int, *, num_classes: int, dropout_ratio: float, dropout_per_frame: bool) -> None:
        super().__init__()
        self.dropout, self.dropout_per_frame = nn.Dropout(dropout_ratio), dropout_per_frame
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> logits (N, num_classes)."""
        if self.dropout_per_frame and self.training:  # one more pass over x that testing does not need
            return self.fc_cls(self.dropout(x.mean(dim=(-2, -1))).mean(dim=-1))  # (N, C, T), (N, C)
        return self.fc_cls(self.dropout(global_average_pool(x)))
