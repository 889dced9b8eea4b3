"""What an MMAction2 0.x user has (config, checkpoint, list file) gives MMAction2's scores through tools/test.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """[
    dict(type='DecordInit'),
    dict(type='SampleFrames', {clips}, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False),
    dict(type='FormatShape', input_format='{layout}'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs'])
]"""
CONFIG = """
model = dict(
    type='{recognizer}',
    backbone=dict({backbone}, pretrained='torchvision://resnet50', depth=50, out_indices=(2, 3), norm_eval=False),
    neck=dict(
        type='TPN',
        in_channels=(1024, 2048),
        out_channels=1024,
        spatial_modulation_cfg=dict(in_channels=(1024, 2048), out_channels=2048),
        temporal_modulation_cfg=dict(downsample_scales=(8, 8)),
        upsample_cfg=dict(scale_factor=(1, 1, 1)),
        downsample_cfg=dict(downsample_scale=(1, 1, 1)),
        level_fusion_cfg=dict(
            in_channels=(1024, 1024), mid_channels=(1024, 1024), out_channels=2048,
            downsample_scales=((1, 1, 1), (1, 1, 1))),
        aux_head_cfg=dict(out_channels={classes}, loss_weight=0.5)),
    cls_head=dict(
        type='TPNHead', num_classes={classes}, in_channels=2048, spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1), dropout_ratio=0.5, init_std=0.01),
    train_cfg=None,
    test_cfg=dict(average_clips='prob'{fcn}))
dataset_type = 'VideoDataset'
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', {train_clips}),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0),
    dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False),
    dict(type='FormatShape', input_format='{layout}'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label'])
]
test_pipeline = {pipeline}
data = dict(
    videos_per_gpu=8,
    workers_per_gpu=0,
    test_dataloader=dict(videos_per_gpu=1),
    train=dict(type=dataset_type, ann_file='list.txt', data_prefix='videos', pipeline=train_pipeline),
    val=dict(type=dataset_type, ann_file='list.txt', data_prefix='videos', pipeline=test_pipeline),
    test=dict(type=dataset_type, ann_file='list.txt', data_prefix='videos', pipeline=test_pipeline))
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001, nesterov=True)
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2))
lr_config = dict(policy='step', step=[75, 125])
total_epochs = 150
checkpoint_config = dict(interval=1)
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
"""
NETWORKS = {
    "tsm": {
        "recipe": "tpn_tsm_r50_1x1x8_150e_sthv1_rgb",
        "recognizer": "Recognizer2D",
        "backbone": "type='ResNetTSM', shift_div=8",
        "classes": 174,
        "fcn": ", fcn_test=True",
        "train_clips": "clip_len=1, frame_interval=1, num_clips=8",
        "clips": "clip_len=1, frame_interval=1, num_clips=8, twice_sample=True",
        "layout": "NCHW",
    },
    "slowonly": {
        "recipe": "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb",
        "recognizer": "Recognizer3D",
        "backbone": "type='ResNet3dSlowOnly', lateral=False, conv1_kernel=(1, 7, 7), conv1_stride_t=1, "
        "pool1_stride_t=1, inflate=(0, 0, 1, 1)",
        "classes": 400,
        "fcn": "",
        "train_clips": "clip_len=8, frame_interval=8, num_clips=1",
        "clips": "clip_len=8, frame_interval=8, num_clips=10",
        "layout": "NCTHW",
    },
}


@pytest.mark.parametrize("name", ["tsm", pytest.param("slowonly", marks=pytest.mark.slow)])
def test_a_0x_config_checkpoint_and_list_give_the_references_scores(
    name, build, seeded, parity, shared, shell, tmp_path
):
    network = NETWORKS[name]
    config = CONFIG.format(**network, pipeline=PIPELINE.format(**network))
    (tmp_path / "config.py").write_text(config)
    model, _ = build(network["recipe"])
    seeded.fill(model)
    torch.save({"meta": {"epoch": 150, "CLASSES": None}, "state_dict": model.state_dict()}, tmp_path / "epoch_150.pth")
    (tmp_path / "list.txt").write_text("arm_wrestling.mp4 3\n")
    (tmp_path / "videos").mkdir()
    shutil.copy(shared / "videos/arm_wrestling.mp4", tmp_path / "videos")

    arguments = "config.py epoch_150.pth --eval top_k_accuracy mean_class_accuracy --out result.json"
    done = shell(f"python {ROOT}/tools/test.py {arguments}", folder=tmp_path)

    assert done.code == 0, done.err
    scores = np.array(json.loads((tmp_path / "result.json").read_text()))
    expected = parity("end_to_end.npz")[f"{name}_demo_decord/score"]
    assert scores.shape == expected.shape
    assert np.abs(scores - expected).max() <= 1e-4
