"""TPN on SlowOnly ResNet-101, from ImageNet weights: 16 frames, every 4th, of Kinetics-400.

Published: 78.1 % top-1, 10 clips x 3 crops, mirrored too (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py configs/recognition/tpn/tpn_imagenet_pretrained_slowonly_r101_16x4x1_150e_kinetics_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "tpn_imagenet_pretrained_slowonly_r101_8x8x1_150e_kinetics_rgb.py"

model = dict(neck=dict(temporal_scales=(8, 16)))
data = dict(clip_len=16, frame_interval=4)
