"""The paper's baseline: TSM ResNet-50 ('inplace' shift) without TPN, from ImageNet weights: Something-Something V2.

Published: 62.3 % top-1, 2 clips x 3 crops (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py \
        configs/recognition/tpn/baselines/tsm_inplace_r50_1x1x8_150e_sthv2_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "../tpn_tsm_inplace_r50_1x1x8_150e_sthv2_rgb.py"

model = dict(neck=None)
