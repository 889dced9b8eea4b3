"""TPN on SlowOnly ResNet-50, from random weights: 8 frames, every 8th, of Kinetics-400.

Published: 73.58 % top-1, 91.35 % top-5, 10 clips x 3 crops (MMAction2 0.24.1).

    python tools/train.py configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb.py"

model = dict(backbone=dict(pretrained=None))
