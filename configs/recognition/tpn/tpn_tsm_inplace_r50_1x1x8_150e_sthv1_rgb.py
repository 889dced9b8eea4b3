"""TPN on TSM ResNet-50 ('inplace' shift), from ImageNet weights: 8 frames over a video of Something-Something V1.

Published: 50.7 % top-1, 2 clips x 3 crops (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py configs/recognition/tpn/tpn_tsm_inplace_r50_1x1x8_150e_sthv1_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "tpn_tsm_r50_1x1x8_150e_sthv1_rgb.py"

model = dict(backbone=dict(shift_downsample=True))  # the authors' TSM shifts the shortcuts' convolutions too
