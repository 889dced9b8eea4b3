"""TPN on SlowOnly ResNet-101, from ImageNet weights: 8 frames, every 8th, of Kinetics-400.

Published: 77.2 % top-1, 10 clips x 3 crops, mirrored too (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py configs/recognition/tpn/tpn_imagenet_pretrained_slowonly_r101_8x8x1_150e_kinetics_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb.py"

model = dict(
    backbone=dict(depth=101),
    neck=dict(temporal_scales=(4, 8)),  # two time steps of res4, one of res5
)
