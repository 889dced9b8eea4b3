"""The paper's baseline: SlowOnly ResNet-50 without TPN, from ImageNet weights: 32 frames, every 2nd, of Kinetics-400.

Published: 75.7 % top-1, 10 clips x 3 crops, mirrored too (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py \
        configs/recognition/tpn/baselines/slowonly_imagenet_pretrained_r50_32x2x1_150e_kinetics_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "../tpn_imagenet_pretrained_slowonly_r50_32x2x1_150e_kinetics_rgb.py"

model = dict(neck=None)
