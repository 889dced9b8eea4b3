"""MMAction2's own config files: all are read, those we claim to support build, the others are refused by a reason."""

import functools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from tpn.compat import load_config
from tpn.config import dump_config
from tpn.config import load_config as load_recipe
from tpn.config.reader import read_config_file
from tpn.data.dataset import build_fixed_views
from tpn.errors import ConfigError
from tpn.models.recognizer import build_recognizer

pytestmark = pytest.mark.network

# Every TPN, SlowOnly and TSM recognition config that is not supported, by what stops it. The others are.
FLOW, NON_LOCAL = "model.backbone.in_channels: 2 is not supported", "non-local blocks are not built here"
OTHER_NETWORK, BLENDING = "is not supported, only Recognizer3D on", "mixup and cutmix are not supported"
REFUSED_0 = {
    "slowonly_k400_pretrained_r50_4x16x1_120e_gym99_flow": FLOW,
    "slowonly_nl_embedded_gaussian_r50_4x16x1_150e_kinetics400_rgb": NON_LOCAL,
    "slowonly_nl_embedded_gaussian_r50_8x8x1_150e_kinetics400_rgb": NON_LOCAL,
    "slowonly_r50_4x16x1_256e_kinetics400_flow": FLOW,
    "slowonly_r50_8x8x1_256e_kinetics400_flow": FLOW,
    "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb": OTHER_NETWORK,
    "tsm_mobilenetv2_video_dense_1x1x8_100e_kinetics400_rgb": OTHER_NETWORK,
    "tsm_mobilenetv2_video_inference_dense_1x1x8_100e_kinetics400_rgb": OTHER_NETWORK,
    "tsm_nl_dot_product_r50_1x1x8_50e_kinetics400_rgb": NON_LOCAL,
    "tsm_nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb": NON_LOCAL,
    "tsm_nl_gaussian_r50_1x1x8_50e_kinetics400_rgb": NON_LOCAL,
    "tsm_r50_cutmix_1x1x8_50e_sthv1_rgb": BLENDING,
    "tsm_r50_flip_randaugment_1x1x8_50e_sthv1_rgb": "'Imgaug' is not supported",
    "tsm_r50_mixup_1x1x8_50e_sthv1_rgb": BLENDING,
    "tsm_r50_ptv_augmix_1x1x8_50e_sthv1_rgb": "'pytorchvideo.AugMix' is not supported",
    "tsm_r50_ptv_randaugment_1x1x8_50e_sthv1_rgb": "'pytorchvideo.RandAugment' is not supported",
    "tsm_r50_randaugment_1x1x8_50e_sthv1_rgb": "'Imgaug' is not supported",
    "tsm_temporal_pool_r50_1x1x8_50e_kinetics400_rgb": "model.backbone.temporal_pool: True is not supported",
}
REFUSED_1 = {
    "slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb": "this call is not allowed",
    "slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-4x16x1-steplr-150e_kinetics400-rgb": NON_LOCAL,
    "slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-8x8x1-steplr-150e_kinetics400-rgb": NON_LOCAL,
    "slowonly_r50_8xb16-16x4x1-256e_kinetics400-flow": FLOW,
    "tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb": OTHER_NETWORK,
    "tsm_imagenet-pretrained-mobileone-s4_8xb16-1x1x16-50e_kinetics400-rgb": OTHER_NETWORK,
    "tsm_imagenet-pretrained-mobileone-s4_deploy_8xb16-1x1x16-50e_kinetics400-rgb": OTHER_NETWORK,
    "tsm_imagenet-pretrained-r50-nl-dot-product_8xb16-1x1x8-50e_kinetics400-rgb": NON_LOCAL,
    "tsm_imagenet-pretrained-r50-nl-embedded-gaussian_8xb16-1x1x8-50e_kinetics400-rgb": NON_LOCAL,
    "tsm_imagenet-pretrained-r50-nl-gaussian_8xb16-1x1x8-50e_kinetics400-rgb": NON_LOCAL,
    "tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_sthv2-rgb": "test_dataloader.pipeline: unknown key",
}
PUBLISHED_PARAMETERS = {  # of MMAction2's metafiles, in millions
    "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb": 91.50,
    "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb": 91.50,
    "tpn_tsm_r50_1x1x8_150e_sthv1_rgb": 82.45,
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """configs(version): the folder of its config files, from the package registry."""

    @functools.cache
    def download(version: str) -> Path:
        folder = tmp_path_factory.mktemp("mmaction2")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            f"mmaction2=={version}",
            "-d",
            folder,
        ]
        subprocess.run(command, check=True)
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        return folder / "mmaction/.mim/configs"

    return download


def recognition(folder: Path) -> list[Path]:
    """The configs of the three kinds of network, `data_benchmark` included."""
    return sorted(path for kind in ("tpn", "slowonly", "tsm") for path in folder.glob(f"recognition/{kind}/**/*.py"))


def check(path: Path, tmp_path: Path) -> int:
    """Load, dump, read back and build a config; the network's parameters."""
    config = load_config(path)
    (tmp_path / "dumped.py").write_text(dump_config(config))
    assert load_recipe(tmp_path / "dumped.py") == config, path.stem
    for split in ("val", "test"):
        assert build_fixed_views(config, split).num_views >= 1, path.stem
    with torch.device("meta"):
        recognizer = build_recognizer(config.model, pretrained=False)
    return sum(parameter.numel() for parameter in recognizer.parameters())


def test_all_258_configs_of_0_24_1_are_read_and_what_is_claimed_builds(configs, tmp_path):
    folder = configs("0.24.1")
    every = sorted(folder.rglob("*.py"))
    assert len(every) == 258
    for path in every:
        read_config_file(path)
    supported = [path for path in recognition(folder) if path.stem not in REFUSED_0]
    assert len(supported) == 47
    counts = {path.stem: check(path, tmp_path) for path in supported}
    for name, millions in PUBLISHED_PARAMETERS.items():
        assert counts[name] / 1e6 == pytest.approx(millions, abs=0.005)


def test_what_is_not_supported_of_0_24_1_is_refused_by_its_reason(configs):
    folder = configs("0.24.1")
    paths = {path.stem: path for path in recognition(folder)}
    for name, reason in REFUSED_0.items():
        with pytest.raises(ConfigError) as error:
            load_config(paths[name])
        assert reason in str(error.value), name
    for path in set(folder.glob("*/*/*.py")) - set(paths.values()):  # other tasks and networks
        with pytest.raises(ConfigError):
            load_config(path)


def test_the_configs_of_1_2_0_build_or_are_refused_by_their_reason(configs, tmp_path):
    paths = recognition(configs("1.2.0"))
    assert sum(path.stem not in REFUSED_1 for path in paths) == 16
    for path in paths:
        if path.stem not in REFUSED_1:
            check(path, tmp_path)
            continue
        with pytest.raises(ConfigError) as error:
            load_config(path)
        assert REFUSED_1[path.stem] in str(error.value), path.stem
