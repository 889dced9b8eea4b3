"""A tiny network, its weights as other programs write them, and MMAction2's configs."""

import re
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tpn.compat import load_config, read_foreign_config
from tpn.compat.authors import our_name
from tpn.compat.foreign import Translation
from tpn.config import Config, parse_overrides
from tpn.config.settings import Head, Model, Neck, SlowOnlyBackbone
from tpn.errors import ConfigError
from tpn.models.recognizer import build_recognizer


@pytest.fixture
def model():
    """TPN on a narrow ResNet-14, with random weights."""
    backbone = SlowOnlyBackbone(type="ResNet3dSlowOnly", depth=14, base_channels=8)
    return build_recognizer(Model(backbone=backbone, neck=Neck(), cls_head=Head(num_classes=5)))


@pytest.fixture
def weights(model) -> dict[str, torch.Tensor]:
    """Other weights for `model`."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(7)
        for key, value in model.state_dict().items()
    }


@pytest.fixture
def optimizer_state(model):
    """An optimizer's state dict, with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.fixture
def mmaction_0x(weights, optimizer_state):
    """A checkpoint of a training run of MMAction2 0.24.1."""
    return {
        "meta": {
            "epoch": 5,
            "iter": 600,
            "mmcv_version": "1.7.2",
            "mmaction_version": "0.24.1abc1234",
            "CLASSES": ("a", "b"),
            "hook_msgs": {"best_score": np.float64(0.5), "best_ckpt": "best_top1_acc_epoch_5.pth"},
        },
        "state_dict": {
            **weights,
            "cls_head.new_cls.weight": torch.zeros(5, 256, 1, 1, 1),
            "cls_head.new_cls.bias": torch.zeros(5),
        },
        "optimizer": optimizer_state,
    }


class HistoryBuffer:
    """Pickles as mmengine's does: arrays, and its own methods."""

    def __init__(self) -> None:
        self._log_history, self._count_history = np.array([0.5, 0.25]), np.array([1, 1])
        self._max_length = 1_000_000

    def mean(self) -> float:
        return float(self._log_history.mean())

    def __getstate__(self):
        return {**self.__dict__, "statistics_methods": {"mean": HistoryBuffer.mean}}


@pytest.fixture
def mmaction_1x(weights, optimizer_state, monkeypatch):
    """A checkpoint of a training run of MMAction2 1.2.0."""
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(HistoryBuffer, "__module__", "mmengine.logging.history_buffer")
    sys.modules["mmengine.logging.history_buffer"].HistoryBuffer = HistoryBuffer
    monkeypatch.setattr(HistoryBuffer.mean, "__module__", "mmengine.logging.history_buffer")
    return {
        "meta": {"mmengine_version": "0.10.7", "epoch": 5, "dataset_meta": {"classes": ["a"]}, "seed": 3},
        "state_dict": {
            **weights,
            "data_preprocessor.mean": torch.zeros(1, 3, 1, 1, 1),
            "data_preprocessor.std": torch.ones(1, 3, 1, 1, 1),
        },
        "message_hub": {"log_scalars": {"train/loss": HistoryBuffer()}, "runtime_info": {"epoch": 5}},
        "optimizer": optimizer_state,
        "param_schedulers": [{"last_step": 5, "_global_step": 6, "milestones": {75: 1, 125: 1}}],
    }


@pytest.fixture
def authors(weights, parity):
    """A checkpoint of the paper's authors: the published names, as far as a ResNet-14 has them."""
    published = parity("authors_state_dict.json")["kinetics400/tpn/r50f8s8"]
    ours = {name: our_name(name, torch.empty(shape)) for name, shape in published.items()}
    return {
        "meta": {"mmcv_version": "0.2.10", "epoch": 150, "iter": 140850, "time": "Sat Nov 16 2019"},
        "state_dict": {name: weights[our] for name, our in ours.items() if not re.search(r"layer\d\.[1-9]", name)},
    }


@pytest.fixture
def save(tmp_path):
    """save(content) -> path of a file as torch wrote it in its time: NumPy 1's names, zip or the older format."""

    def write(content, name: str = "c.pth", *, zip_format: bool = True):
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=zip_format)
        if not zip_format:
            path.write_bytes(as_numpy_1(path.read_bytes()))
            return path
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, as_numpy_1(data) if member.endswith("data.pkl") else data)
        return path

    return write


def as_numpy_1(pickled: bytes) -> bytes:
    return pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


# ------------------------------------------------------------------------------------------------- MMAction2's configs

_NORM = "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)\n"
_NECK = """
    neck=dict(
        type='TPN', in_channels=(1024, 2048), out_channels=1024,
        spatial_modulation_cfg=dict(in_channels=(1024, 2048), out_channels=2048),
        temporal_modulation_cfg=dict(downsample_scales=(8, 8)),
        upsample_cfg=dict(scale_factor=(1, 1, 1)), downsample_cfg=dict(downsample_scale=(1, 1, 1)),
        level_fusion_cfg=dict(in_channels=(1024, 1024), mid_channels=(1024, 1024), out_channels=2048,
                              downsample_scales=((1, 1, 1), (1, 1, 1))),
        aux_head_cfg=dict(out_channels=CLASSES, loss_weight=0.5)),
    cls_head=dict(type='TPNHead', num_classes=CLASSES, in_channels=2048, spatial_type='avg',
                  consensus=dict(type='AvgConsensus', dim=1), dropout_ratio=0.5, init_std=0.01AVERAGE),"""
_SLOW_ONLY = """
    backbone=dict(type='ResNet3dSlowOnly', depth=50, pretrained='torchvision://resnet50', lateral=False,
                  out_indices=(2, 3), conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1,
                  inflate=(0, 0, 1, 1), norm_eval=False),"""
_TSM = """
    backbone=dict(type='ResNetTSM', pretrained='torchvision://resnet50', depth=50, out_indices=(2, 3),
                  norm_eval=False, shift_div=8),"""
_LAST = """
    dict(type='Normalize', **img_norm_cfg), dict(type='FormatShape', input_format='FORMAT'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]), dict(type='ToTensor', keys=['imgs'])]
"""
_PIPELINES = f"""
train_pipeline = [
    dict(type='SampleFrames', CLIPS, num_clips=TRAIN), dict(type='RawFrameDecode'), dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False), dict(type='Flip', flip_ratio=0.5),
    dict(type='ColorJitter'),{_LAST}
val_pipeline = [
    dict(type='SampleFrames', CLIPS, num_clips=TRAIN, test_mode=True), dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)), dict(type='CenterCrop', crop_size=224),VAL{_LAST}
test_pipeline = [
    dict(type='SampleFrames', CLIPS, num_clips=TEST, test_mode=True), dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)), dict(type='ThreeCrop', crop_size=256),{_LAST}
"""
_DATA = """
dataset_type = 'RawframeDataset'
ann_file_train = f'data/{name}/{name}_train_list_rawframes.txt'
ann_file_val = f'data/{name}/{name}_val_list_rawframes.txt'
data = dict(
    videos_per_gpu=8, workers_per_gpu=8, test_dataloader=dict(videos_per_gpu=1),
    train=dict(type=dataset_type, ann_file=ann_file_train, data_prefix=data_root, pipeline=train_pipeline),
    val=dict(type=dataset_type, ann_file=ann_file_val, data_prefix=data_root_val, pipeline=val_pipeline),
    test=dict(type=dataset_type, ann_file=ann_file_val, data_prefix=data_root_val, pipeline=test_pipeline))
evaluation = dict(interval=5, metrics=['top_k_accuracy', 'mean_class_accuracy'])
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=DECAY, nesterov=True)  # this lr is used for 8 gpus
optimizer_config = dict(grad_clip=dict(max_norm=NORM, norm_type=2))
lr_config = dict(policy='step', step=[75, 125])
total_epochs = 150
"""


def _filled(text: str, **values: object) -> str:
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


MMACTION2 = {
    "_base_/default_runtime.py": """
checkpoint_config = dict(interval=1)
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
opencv_num_threads = 0
mp_start_method = 'fork'
""",
    "_base_/models/tpn_slowonly_r50.py": _filled(
        f"model = dict(\n    type='Recognizer3D',{_SLOW_ONLY}{_NECK}"
        "\n    train_cfg=None,\n    test_cfg=dict(average_clips='prob'))\n",
        CLASSES=400, AVERAGE="",
    ),
    "_base_/models/tpn_tsm_r50.py": _filled(
        f"model = dict(\n    type='Recognizer2D',{_TSM}{_NECK}"
        "\n    train_cfg=None,\n    test_cfg=dict(average_clips='prob', fcn_test=True))\n",
        CLASSES=174, AVERAGE="",
    ),
    "tpn/tpn_kinetics.py": _filled(
        "_base_ = ['../_base_/models/tpn_slowonly_r50.py', '../_base_/default_runtime.py']\n"
        "name = 'kinetics400'\ndata_root = 'data/kinetics400/rawframes_train'\n"
        f"data_root_val = 'data/kinetics400/rawframes_val'\n{_NORM}{_PIPELINES}{_DATA}"
        "work_dir = f'./work_dirs/{name}'\n",
        CLIPS="clip_len=8, frame_interval=8", TRAIN=1, TEST=10, VAL=" dict(type='ColorJitter'),", FORMAT="NCTHW",
        DECAY=0.0001, NORM=40,
    ),
    "tpn/tpn_scratch.py": "_base_ = ['./tpn_kinetics.py']\nmodel = dict(backbone=dict(pretrained=None))\n",
    "tpn/tpn_sthv1.py": _filled(
        "_base_ = ['../_base_/models/tpn_tsm_r50.py', '../_base_/default_runtime.py']\n"
        f"name = 'sthv1'\ndata_root = data_root_val = 'data/sthv1/rawframes'\n{_NORM}{_PIPELINES}{_DATA}".replace(
            "data_root = data_root_val = ", "data_root_val = 'data/sthv1/rawframes'\ndata_root = "
        ),
        CLIPS="clip_len=1, frame_interval=1", TRAIN=8, TEST="8, twice_sample=True", VAL="", FORMAT="NCHW",
        DECAY=0.0005, NORM=20,
    ),
    "v1/tpn_kinetics.py": _filled(
        f"""
model = dict(
    type='Recognizer3D',{_SLOW_ONLY}{_NECK}
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                           format_shape='NCTHW'),
    train_cfg=None, test_cfg=dict(fcn_test=True))
default_scope = 'mmaction'
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'), timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False), param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto', max_keep_ckpts=5),
    sampler_seed=dict(type='DistSamplerSeedHook'), sync_buffers=dict(type='SyncBuffersHook'))
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl'))
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
last = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
train_pipeline = [
    dict(type='DecordInit'), dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips=1),
    dict(type='DecordDecode'), dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False), dict(type='Flip', flip_ratio=0.5),
    dict(type='ColorJitter')] + last
val_pipeline = [
    dict(type='DecordInit'), dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips=1, test_mode=True),
    dict(type='DecordDecode'), dict(type='Resize', scale=(-1, 256)), dict(type='CenterCrop', crop_size=224)] + last
test_pipeline = [
    dict(type='DecordInit'), dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips=10, test_mode=True),
    dict(type='DecordDecode'), dict(type='Resize', scale=(-1, 256)), dict(type='ThreeCrop', crop_size=256)] + last
train_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='VideoDataset', ann_file='train.txt', data_prefix=dict(video='videos_train'),
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='VideoDataset', ann_file='val.txt', data_prefix=dict(video='videos_val'),
                 pipeline=val_pipeline, test_mode=True))
test_dataloader = dict(
    batch_size=1, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='VideoDataset', ann_file='val.txt', data_prefix=dict(video='videos_val'),
                 pipeline=test_pipeline, test_mode=True))
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=150, val_begin=1, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True),
    clip_grad=dict(max_norm=40, norm_type=2))
param_scheduler = [dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[75, 125], gamma=0.1)]
""",
        CLASSES=400, AVERAGE=", average_clips='prob'",
    ),
}  # fmt: skip


class MMAction2Configs:
    """A folder of config files in the style of MMAction2, and what our loader makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in MMACTION2.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def change(self, name: str, *replacements: tuple[str, str]) -> None:
        """Replace some text of a file, which must have it."""
        path = self.folder / name
        text = path.read_text()
        for old, new in replacements:
            assert old in text, f"{name} has no {old}"
            text = text.replace(old, new)
        path.write_text(text)

    def show_videos(self, name: str, ann_file: object, data_prefix: object) -> None:
        """Let a file of version 0.x train and test on the videos of one list, not on folders of frames."""
        self.change(
            name,
            ("'RawframeDataset'", "'VideoDataset'"),
            ("dict(type='SampleFrames'", "dict(type='DecordInit'), dict(type='SampleFrames'"),
            ("'RawFrameDecode'", "'DecordDecode'"),
            ("ann_file=ann_file_train, data_prefix=data_root,", f"ann_file='{ann_file}', data_prefix='{data_prefix}',"),
            ("ann_file=ann_file_val, data_prefix=data_root_val", f"ann_file='{ann_file}', data_prefix='{data_prefix}'"),
        )

    def load(self, name: str, *options: str) -> Config:
        return load_config(self.folder / name, parse_overrides(options))

    def read(self, name: str, *options: str) -> Translation:
        translation = read_foreign_config(self.folder / name, parse_overrides(options))
        assert translation is not None
        return translation

    def problems(self, name: str, *options: str) -> list[str]:
        """The lines of the error, without the folder's name; the last one, which names the guide, is left out."""
        with pytest.raises(ConfigError) as error:
            self.load(name, *options)
        *lines, guide = str(error.value).replace(f"{self.folder}/", "").splitlines()
        assert "compatibility.md" in guide
        return lines


@pytest.fixture
def mmaction2(tmp_path) -> MMAction2Configs:
    return MMAction2Configs(tmp_path)
