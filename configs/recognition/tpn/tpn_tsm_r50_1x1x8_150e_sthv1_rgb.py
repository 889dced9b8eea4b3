"""TPN on TSM ResNet-50, from ImageNet weights: 8 frames spread over a video of Something-Something V1.

Published: 51.50 % top-1, 79.15 % top-5, 2 clips x 3 crops (MMAction2 0.24.1; Yang et al., CVPR 2020).

    python tools/train.py configs/recognition/tpn/tpn_tsm_r50_1x1x8_150e_sthv1_rgb.py \
        --validate --seed 0 --deterministic
"""

model = dict(
    backbone=dict(type="ResNetTSM", depth=50, pretrained="imagenet", num_segments=8, shift_div=8),
    neck=dict(temporal_scales=(8, 8), aux_loss_weight=0.5),
    cls_head=dict(num_classes=174, dropout_ratio=0.5),
)

_val = dict(ann_file="data/sthv1/sthv1_val_list_rawframes.txt", data_prefix="data/sthv1/rawframes")
data = dict(
    format="rawframes",
    filename_tmpl="{:05}.jpg",
    clip_len=1,  # 1x1x8: one frame
    frame_interval=1,
    num_clips=8,  # from each eighth of the video; the eight form one view
    short_side=256,
    crop_size=224,
    # A mirrored "left to right" is a "right to left".
    flip_label_map={2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52},
    videos_per_gpu=8,
    workers_per_gpu=8,
    train=dict(ann_file="data/sthv1/sthv1_train_list_rawframes.txt", data_prefix="data/sthv1/rawframes"),
    val=_val,  # one view, the centre crop
    test=dict(**_val, twice_sample=True, num_crops=3, crop_size=256),  # 6 views
)

optimizer = dict(lr=0.01, momentum=0.9, weight_decay=0.0005, nesterov=True, max_grad_norm=20)  # for 8 GPUs x 8 videos
lr_config = dict(policy="step", step=(75, 125))  # a tenth after 75 epochs, again after 125
total_epochs = 150
evaluation = dict(interval=5, metrics=("top_k_accuracy", "mean_class_accuracy"))
compat = dict(val_color_jitter=False)  # reference_bugs=True means Kinetics' validation, this one never had jitter
