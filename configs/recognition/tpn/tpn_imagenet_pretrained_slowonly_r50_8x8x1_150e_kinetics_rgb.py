"""TPN on SlowOnly ResNet-50, from ImageNet weights: 8 frames, every 8th, of Kinetics-400.

Published: 76.59 % top-1, 92.72 % top-5, 10 clips x 3 crops (MMAction2 0.24.1; Yang et al., CVPR 2020).

    python tools/train.py configs/recognition/tpn/tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb.py \
        --validate --seed 0 --deterministic
"""

model = dict(
    backbone=dict(type="ResNet3dSlowOnly", depth=50, pretrained="imagenet"),
    neck=dict(temporal_scales=(8, 8), aux_loss_weight=0.5),
    cls_head=dict(num_classes=400, dropout_ratio=0.5),
)

_val = dict(
    ann_file="data/kinetics400/kinetics400_val_list_rawframes.txt",
    data_prefix="data/kinetics400/rawframes_val",
)
data = dict(
    format="rawframes",
    filename_tmpl="img_{:05}.jpg",
    clip_len=8,  # 8x8x1: eight frames,
    frame_interval=8,  # every eighth one,
    num_clips=1,  # one clip
    short_side=256,
    crop_size=224,
    videos_per_gpu=8,
    workers_per_gpu=8,
    train=dict(
        ann_file="data/kinetics400/kinetics400_train_list_rawframes.txt",
        data_prefix="data/kinetics400/rawframes_train",
    ),
    val=_val,  # one clip, the centre crop
    test=dict(**_val, num_clips=10, num_crops=3, crop_size=256),  # 30 views
)

optimizer = dict(lr=0.01, momentum=0.9, weight_decay=0.0001, nesterov=True, max_grad_norm=40)  # for 8 GPUs x 8 videos
lr_config = dict(policy="step", step=(75, 125))  # a tenth after 75 epochs, again after 125
total_epochs = 150
evaluation = dict(interval=5, metrics=("top_k_accuracy", "mean_class_accuracy"))
