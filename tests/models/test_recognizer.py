"""What a recognizer promises beyond equal numbers."""

import pytest
import torch

from tpn.config.settings import Head, Model, Neck, SlowOnlyBackbone, TSMBackbone
from tpn.models.layers import SpatialConv, TemporalConv, TemporalShift, fold_space, fold_time
from tpn.models.recognizer import build_recognizer

CASCADE = Neck()


def tiny(neck: Neck | None = CASCADE, backbone=SlowOnlyBackbone, **settings) -> torch.nn.Module:
    kinds = {SlowOnlyBackbone: "ResNet3dSlowOnly", TSMBackbone: "ResNetTSM"}
    settings = {"depth": 14, "base_channels": 8, **settings}
    torch.manual_seed(0)
    return build_recognizer(
        Model(backbone=backbone(type=kinds[backbone], **settings), neck=neck, cls_head=Head(num_classes=5))
    )


def clips(n: int = 2, t: int = 8, size: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, t, size, size, generator=torch.Generator().manual_seed(0))


def randomize_norms(model: torch.nn.Module) -> None:
    """Zero-initialised norms hide their branch; give every norm a scale."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)


def test_folding_is_a_view_of_the_same_memory():
    x = clips().contiguous(memory_format=torch.channels_last_3d)
    for folded in (fold_time(x), fold_space(x)):
        assert folded.data_ptr() == x.data_ptr()
        assert folded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("groups", [1, 4])
def test_folded_convolutions_equal_conv3d(groups):
    x = torch.randn(2, 8, 5, 9, 9, dtype=torch.float64)
    spatial = SpatialConv(8, 16, 3, stride=2, groups=groups).double()
    temporal = TemporalConv(8, 16, groups=groups).double()
    torch.nn.init.normal_(spatial.weight)
    torch.nn.init.normal_(temporal.weight)
    ours = spatial(fold_time(x)).reshape(2, 5, 16, 5, 5).transpose(1, 2)
    theirs = torch.nn.functional.conv3d(x, spatial.weight, stride=(1, 2, 2), padding=(0, 1, 1), groups=groups)
    torch.testing.assert_close(ours, theirs)
    ours = temporal(fold_space(x)).reshape(2, 16, 5, 9, 9)
    theirs = torch.nn.functional.conv3d(x, temporal.weight, padding=(1, 0, 0), groups=groups)
    torch.testing.assert_close(ours, theirs)


def test_shift_moves_an_eighth_of_the_channels_each_way_and_fills_with_zeros():
    conv = SpatialConv(16, 16, 1, weight_dims=4)
    shift = TemporalShift(conv, num_segments=4, shift_div=8).shift
    x = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 16, 4, 2, 2) + 1  # frame t holds t + 1
    shifted = shift(fold_time(x))[:, :, 0, 0]  # (T, C)
    assert shifted[:, 0].tolist() == shifted[:, 1].tolist() == [2, 3, 4, 0]
    assert shifted[:, 2].tolist() == shifted[:, 3].tolist() == [0, 1, 2, 3]
    assert all(shifted[:, c].tolist() == [1, 2, 3, 4] for c in range(4, 16))


@pytest.mark.parametrize("backbone", [SlowOnlyBackbone, TSMBackbone])
@pytest.mark.parametrize("neck", [Neck(), Neck(flow_type="parallel"), Neck(temporal_scales=(2, 4, 8)), None])
def test_every_parameter_gets_a_gradient(backbone, neck):
    model = tiny(neck, backbone).train()
    randomize_norms(model)
    logits, aux_logits = model(clips())
    loss = logits.square().sum() + (0 if aux_logits is None else aux_logits.square().sum())
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("scales", "t", "levels"),
    [
        *[((t, t), t, 1) for t in (8, 16, 32)],  # ResNet-50
        *[((t // 2, t), t, 1) for t in (8, 16, 32)],  # ResNet-101
        ((2, 4, 8), 16, 2),
    ],
)
def test_all_published_temporal_scales_build_and_reach_the_coarsest_tempo(scales, t, levels):
    model = tiny(Neck(temporal_scales=scales)).eval()
    with torch.inference_mode():
        fused = model.neck(model.extract_features(clips(t=t)))
    assert fused.shape[:3] == (2, 256, levels)


def test_resnet101_scales_pool_the_finer_level_to_the_coarser():
    neck = tiny(Neck(temporal_scales=(4, 8))).neck
    assert neck.downsample_ops[0].scale == 2
    assert [reduce.scale for reduce in neck.level_fusion_1.downsamples] == [2, 1]


def test_cascade_differs_from_parallel():
    cascade, parallel = tiny(Neck()), tiny(Neck(flow_type="parallel"))
    parallel.load_state_dict(cascade.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(cascade.eval()(clips()), parallel.eval()(clips()))


def test_eval_gives_logits_and_training_gives_both():
    model = tiny()
    assert model.eval()(clips()).shape == (2, 5)
    logits, aux_logits = model.train()(clips())
    assert logits.shape == aux_logits.shape == (2, 5)
    logits, aux_logits = tiny(Neck(aux_loss_weight=None)).train()(clips())
    assert aux_logits is None
    assert not any("aux_head" in name for name in tiny(Neck(aux_loss_weight=None)).state_dict())


def test_tsn_cannot_see_frame_order_and_slowonly_can():
    shuffled = clips()[:, :, torch.randperm(8, generator=torch.Generator().manual_seed(1))]
    for inflate, sees_order in [((False,) * 4, False), ((False, False, True, True), True)]:
        model = tiny(None, inflate=inflate).eval()
        randomize_norms(model)
        with torch.inference_mode():
            same = torch.allclose(model(clips()), model(shuffled), atol=1e-4)
        assert same is not sees_order


def test_norm_eval_keeps_running_statistics():
    model = tiny(norm_eval=True).train()
    before = model.backbone.conv1.bn.running_mean.clone()
    model(clips())
    assert torch.equal(model.backbone.conv1.bn.running_mean, before)


def test_resnet101_tsm_shifts_every_second_block():
    with torch.device("meta"):
        model = tiny(None, TSMBackbone, depth=101, base_channels=64)
    shifted = [isinstance(block.conv1.conv, TemporalShift) for block in model.backbone.layer3]
    assert shifted == [i % 2 == 0 for i in range(23)]
