"""The commands take an MMAction2 config as they take the recipe that means the same."""

import json

import pytest
import torch

from tpn.compat import load_config
from tpn.config import load_config as load_recipe
from tpn.models.recognizer import build_recognizer

MEANING = ("model.neck=None", "model.cls_head.dropout_ratio=0.5", "lr_config=dict(policy='step', step=[1])",
           "optimizer.lr_batch_size=32", "data.test.num_clips=2", "data.flip_ratio=0.5", "total_epochs=2")  # fmt: skip


@pytest.fixture(scope="module")
def foreign(sprites, tmp_path_factory):
    """What the tiny recipe is without its pyramid, said in MMAction2 0.x's words."""
    path = tmp_path_factory.mktemp("foreign") / "slowonly_sprites.py"
    last = (
        "dict(type='Normalize', **img_norm_cfg), dict(type='FormatShape', input_format='NCTHW'), "
        "dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]), dict(type='ToTensor', keys=['imgs'])]"
    )
    sample = (
        "dict(type='DecordInit'), dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips={}), "
        "dict(type='DecordDecode'), "
    )
    fixed = sample.replace("num_clips={}", "num_clips={}, test_mode=True")
    crop = "dict(type='Resize', scale=(-1, 32)), dict(type='CenterCrop', crop_size=32), "
    path.write_text(f"""
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3dSlowOnly', depth=14, base_channels=8, pretrained=None, with_pool1=False),
    cls_head=dict(type='I3DHead', in_channels=256, num_classes=6, dropout_ratio=0.5),
    train_cfg=None,
    test_cfg=dict(average_clips='prob'))
dataset_type = 'VideoDataset'
data_root = {str(sprites)!r}
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
train_pipeline = [{sample.format(1)}dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False), dict(type='Flip', flip_ratio=0.5),
    dict(type='ColorJitter'), {last}
val_pipeline = [{fixed.format(1)}{crop}{last}
test_pipeline = [{fixed.format(2)}{crop}{last}
data = dict(
    videos_per_gpu=4, workers_per_gpu=0, test_dataloader=dict(videos_per_gpu=1),
    train=dict(type=dataset_type, ann_file=f'{{data_root}}/train.txt', data_prefix=data_root, pipeline=train_pipeline),
    val=dict(type=dataset_type, ann_file=f'{{data_root}}/val.txt', data_prefix=data_root, pipeline=val_pipeline),
    test=dict(type=dataset_type, ann_file=f'{{data_root}}/val.txt', data_prefix=data_root, pipeline=test_pipeline))
optimizer = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0001, nesterov=True)
optimizer_config = dict(grad_clip=dict(max_norm=20, norm_type=2))
lr_config = dict(policy='step', step=[1])
total_epochs = 2
evaluation = dict(interval=1, metrics=['top_k_accuracy', 'mean_class_accuracy'])
log_config = dict(interval=1, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
workflow = [('train', 1)]
""")
    return path


@pytest.fixture
def meaning(sprites):
    """The options that make the tiny recipe say the same."""
    return [*MEANING, f"data.test.ann_file={sprites}/val.txt"]


def test_the_test_gives_the_same_scores(tpn, foreign, recipe, meaning, tmp_path):
    torch.manual_seed(0)
    model = build_recognizer(load_config(foreign).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    scores = []
    for config, options in ((foreign, []), (recipe, ["--cfg-options", *meaning])):
        outcome = tpn("test", config, tmp_path / "weights.pth", "--out", tmp_path / "scores.json", *options)
        assert outcome.code == 0, outcome.err
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert len(scores[0]) == 7 and scores[0] == scores[1]


def test_the_training_takes_the_same_steps(tpn, foreign, recipe, meaning, tmp_path):
    weights = []
    for config, options in ((foreign, []), (recipe, ["--cfg-options", *meaning])):
        work_dir = tmp_path / config.stem
        outcome = tpn("train", config, "--work-dir", work_dir, "--validate", "--seed", 0, "--deterministic", *options)
        assert outcome.code == 0, outcome.err
        weights.append(torch.load(work_dir / "epoch_2.pth", weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] | weights[1])
    assert load_recipe(tmp_path / foreign.stem / foreign.name) == load_config(foreign)  # the run folder has a recipe


def test_a_key_that_cannot_be_honoured_stops_the_command_before_it_begins(tpn, foreign, tmp_path):
    option = "data.train.pipeline.3.type=RandomRescale"
    outcome = tpn("train", foreign, "--work-dir", tmp_path / "run", "--cfg-options", option)
    assert outcome.code == 2 and not (tmp_path / "run").exists()
    assert "--cfg-options: data.train.pipeline.3.type: 'RandomRescale' is not supported" in outcome.err
