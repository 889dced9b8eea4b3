"""TPN on a narrow 2-D ResNet-14 (TSN): 8 frames, every 8th, of the six TempoSprites classes that `tpn demo` makes.

Each class is another one played backwards, so a network that cannot see the order of frames gets at most 50 %. The
backbone alone cannot: whatever exceeds 50 % is the pyramid's. Two CPU cores train it in about a minute.

    tpn demo
    python tools/train.py configs/recognition/tpn/tpn_tsn_r14_8x8x1_10e_temposprites_rgb.py --validate
"""

model = dict(
    backbone=dict(type="ResNet3dSlowOnly", depth=14, base_channels=8, stem_pool=False, inflate=(0, 0, 0, 0)),
    neck=dict(temporal_scales=(8, 8), aux_loss_weight=0.5),
    cls_head=dict(num_classes=6, dropout_ratio=0.0),
)

_root = "work_dirs/demo/temposprites"
data = dict(
    format="videos",
    clip_len=8,  # 8x8x1, as on Kinetics: eight frames, every eighth one, one clip
    frame_interval=8,
    num_clips=1,
    short_side=32,
    crop_size=32,
    area_range=(1, 1),  # the sprite must stay in sight
    aspect_ratio_range=(1, 1),
    flip_label_map={0: 1, 1: 0, 2: 3, 3: 2},  # mirrored, left is right and clockwise is counter-clockwise
    color_jitter=False,
    videos_per_gpu=32,
    workers_per_gpu=2,
    train=dict(ann_file=f"{_root}/train.txt", data_prefix=_root),
    val=dict(ann_file=f"{_root}/val.txt", data_prefix=_root),
    test=dict(ann_file=f"{_root}/test.txt", data_prefix=_root, num_clips=5),  # five views,
)

optimizer = dict(lr=0.05, lr_batch_size=32, momentum=0.9, weight_decay=0.0001, nesterov=True, max_grad_norm=20)
lr_config = dict(policy="cosine", warmup_epochs=1)
total_epochs = 10
evaluation = dict(interval=2)
log_config = dict(interval=10)
