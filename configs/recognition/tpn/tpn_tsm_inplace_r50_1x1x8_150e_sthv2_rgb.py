"""TPN on TSM ResNet-50 ('inplace' shift), from ImageNet weights: 8 frames over a video of Something-Something V2.

Published: 64.7 % top-1, 2 clips x 3 crops (the paper's authors, MODELZOO.md of decisionforce/TPN).

    python tools/train.py configs/recognition/tpn/tpn_tsm_inplace_r50_1x1x8_150e_sthv2_rgb.py \
        --validate --seed 0 --deterministic
"""

_base_ = "tpn_tsm_inplace_r50_1x1x8_150e_sthv1_rgb.py"

_val = dict(ann_file="data/sthv2/sthv2_val_list_rawframes.txt", data_prefix="data/sthv2/rawframes")
data = dict(
    filename_tmpl="img_{:05}.jpg",  # extracted from the official videos
    # The labels of V1 in another order: pulling, pushing, turning the camera.
    flip_label_map={"_delete_": True, 86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166},
    train=dict(ann_file="data/sthv2/sthv2_train_list_rawframes.txt", data_prefix="data/sthv2/rawframes"),
    val=_val,
    test=_val,
)
