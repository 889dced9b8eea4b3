"""The data of MMAction2 configs: lists, file names, and steps from frames to views that mean the same here."""

import pytest

from tpn.data.dataset import build_fixed_views, build_random_views

KINETICS, STHV1, V1 = "tpn/tpn_kinetics.py", "tpn/tpn_sthv1.py", "v1/tpn_kinetics.py"
TRAIN_CROP = "dict(type='RandomResizedCrop'),"
MULTI_SCALE = (
    "dict(type='Resize', scale=(-1, 256)), dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66), "
    "random_crop=False, max_wh_scale_gap=1, num_fixed_crops=13),"
)


def sentences(problems: list[str]) -> list[str]:
    return [problem.split(": ", 1)[1] for problem in problems]


# ------------------------------------------------------------------------------------------------------------ data sets


@pytest.mark.parametrize("decoder", ["Decord", "PyAV", "OpenCV"])
def test_videos_are_read_by_our_decoder_whichever_the_file_names(mmaction2, decoder):
    mmaction2.change(V1, ("Decord", decoder))
    assert mmaction2.load(V1).data.format == "videos"


def test_decoding_that_contradicts_the_data_set_is_refused(mmaction2):
    mmaction2.change(KINETICS, ("'RawframeDataset'", "'VideoDataset'"))
    problem = mmaction2.problems(KINETICS)[0]
    assert "data.train.type: 'videos', but data.train.pipeline.1.type is 'rawframes'" in problem


def test_frames_are_named_and_counted_as_the_file_says(mmaction2):
    mmaction2.change(
        KINETICS, ("data_prefix=data_root", "filename_tmpl='{:06}.png', start_index=0, data_prefix=data_root")
    )
    data = mmaction2.load(KINETICS).data
    assert (data.filename_tmpl, data.start_index) == ("{:06}.png", 0)


def test_a_file_name_that_asks_for_more_than_a_number_is_refused(mmaction2):
    mmaction2.change(KINETICS, ("data_prefix=data_root", "filename_tmpl='{:0999999999}', data_prefix=data_root"))
    problem = "data.filename_tmpl: expected the frame's number once, as in 'img_{:05}.jpg', got '{:0999999999}'"
    assert sentences(mmaction2.problems(KINETICS)) == [problem]


def test_frames_of_something_something_v1_are_named_as_they_come(mmaction2):
    assert mmaction2.load(STHV1).data.filename_tmpl == "{:05}.jpg"
    assert mmaction2.load(STHV1, "compat.reference_bugs=True").data.filename_tmpl == "img_{:05}.jpg"
    template = "data.{}.filename_tmpl=img_{{:05}}.jpg"
    options = [template.format(split) for split in ("train", "val", "test")]
    assert mmaction2.load(STHV1, *options).data.filename_tmpl == "img_{:05}.jpg"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("modality='Flow'", "data.train.modality: 'Flow' is not supported, only 'RGB'; optical flow is not read"),
        ("multi_class=True", "data.train.multi_class: True is not supported, only False; a video has one label"),
        ("with_offset=True", "data.train.with_offset: True is not supported, only False"),
        ("sample_by_class=True", "data.train.sample_by_class: True is not supported, only False"),
    ],
)
def test_what_a_data_set_here_cannot_do_is_refused(mmaction2, change, problem):
    mmaction2.change(KINETICS, ("ann_file=ann_file_train,", f"ann_file=ann_file_train, {change},"))
    assert sentences(mmaction2.problems(KINETICS)) == [problem]


def test_other_data_sets_are_refused_by_name(mmaction2):
    mmaction2.change(KINETICS, ("train=dict(type=dataset_type,", "train=dict(type='RepeatDataset', times=2,"))
    assert "'RepeatDataset' is not supported" in mmaction2.problems(KINETICS)[0]


def test_a_config_for_inference_needs_no_lists_and_no_schedule(mmaction2):
    text = (mmaction2.folder / STHV1).read_text()
    head, _, _ = text.partition("dataset_type")
    (mmaction2.folder / STHV1).write_text(
        f"{head}data = dict(videos_per_gpu=1, workers_per_gpu=2, test=dict(\n"
        "    type='RawframeDataset', ann_file=None, data_prefix=None, pipeline=test_pipeline))\n"
    )
    config = mmaction2.load(STHV1)
    assert (config.data.clip_len, config.data.num_clips, config.frames_per_view) == (1, 8, 8)
    assert (config.data.train.ann_file, config.data.test.ann_file, config.data.crop_size) == ("", "", 256)
    assert build_fixed_views(config, "test").num_views == 6


# ---------------------------------------------------------------------------------------------------------------- steps


def test_frames_may_be_resized_before_the_training_crop(mmaction2):
    mmaction2.change(
        KINETICS, (TRAIN_CROP, f"dict(type='Resize', scale=(-1, 128)), {TRAIN_CROP}"), ("(224, 224)", "(112, 112)")
    )
    config = mmaction2.load(KINETICS)
    assert (config.data.train_short_side, config.data.crop_size) == (128, 112)
    views = build_random_views(config)
    assert (views.short_side, views.crop_size) == (128, 112)


def test_multi_scale_crop_is_tsms(mmaction2):
    mmaction2.change(STHV1, (TRAIN_CROP, MULTI_SCALE))
    config = mmaction2.load(STHV1)
    assert (config.data.multi_scale_crop, config.data.train_short_side) == ((1, 0.875, 0.75, 0.66), 256)
    mmaction2.change(STHV1, ("num_fixed_crops=13", "num_fixed_crops=5"))
    assert "num_fixed_crops: 5 is not supported, only 13" in mmaction2.problems(STHV1)[0]


def test_dense_sampling_ten_crops_and_frames_as_they_are(mmaction2):
    mmaction2.change(
        STHV1,
        ("'SampleFrames'", "'DenseSampleFrames'"),
        (", twice_sample=True", ""),
        ("dict(type='Resize', scale=(-1, 256)), ", ""),
        ("ThreeCrop', crop_size=256", "TenCrop', crop_size=224"),
    )
    config = mmaction2.load(STHV1)
    assert (config.data.dense_range, config.data.dense_windows, config.data.short_side) == (64, 10, None)
    assert (config.data.test.num_crops, build_fixed_views(config, "test").num_views) == (10, 100)
    assert build_fixed_views(config, "val").num_views == 10


def test_dense_sampling_in_one_split_only_is_refused(mmaction2):
    train = "'SampleFrames', clip_len=1, frame_interval=1, num_clips=8)"
    mmaction2.change(STHV1, (train, f"'Dense{train[1:]}"))
    _, _, sentence = mmaction2.problems(STHV1)[0].partition(": ")
    assert sentence.startswith("data.train.pipeline.0.sample_range: 64, but data.val.pipeline.0.sample_range is None")


def test_resizing_in_validation_only_is_refused(mmaction2):
    mmaction2.change(KINETICS, ("dict(type='Resize', scale=(-1, 256)), dict(type='ThreeCrop'", "dict(type='ThreeCrop'"))
    _, _, sentence = mmaction2.problems(KINETICS)[0].partition(": ")
    assert sentence.startswith("data.val.pipeline.2.scale: 256, but data.test.pipeline.Resize is None")


def test_a_mirrored_label_map_is_kept(mmaction2):
    mmaction2.change(KINETICS, ("flip_ratio=0.5", "flip_ratio=0.25, flip_label_map={0: 1, 1: 0}"))
    data = mmaction2.load(KINETICS).data
    assert (data.flip_ratio, data.flip_label_map) == (0.25, {0: 1, 1: 0})


def test_no_flip_and_no_jitter_are_none(mmaction2):
    mmaction2.change(KINETICS, (" dict(type='Flip', flip_ratio=0.5),", ""), ("\n    dict(type='ColorJitter'),", ""))
    data = mmaction2.load(KINETICS).data
    assert (data.flip_ratio, data.color_jitter) == (0, False)


def test_normalisation_on_the_gpu_is_the_same(mmaction2):
    hook = "type='GPUNormalize', hooked_module='backbone', hook_pos='forward_pre', mean=[1, 2, 3], std=[4, 5, 6]"
    mmaction2.change(
        KINETICS,
        ("dict(type='Normalize', **img_norm_cfg), ", ""),
        ("name =", f"module_hooks = [dict({hook})]\nname ="),
    )
    assert mmaction2.load(KINETICS).data.mean == (1, 2, 3)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dict(type='Flip', flip_ratio=0.5)", "dict(type='Imgaug', transforms='default')",
         "data.train.pipeline.4.type: 'Imgaug' is not supported; take the step out, or train elsewhere"),
        ("crop_size=224),", "crop_size=224, lazy=True),",
         "data.val.pipeline.3.lazy: True is not supported, only False"),
        ("num_clips=1, test_mode=True", "num_clips=1",
         "data.val.pipeline.0.test_mode: missing; set test_mode=True, or its clips are random"),
        ("num_clips=10, test_mode=True", "num_clips=10, test_mode=True, keep_tail_frames=True",
         "data.test.pipeline.0.keep_tail_frames: True is not supported, only False"),
        ("scale=(-1, 256)), dict(type='ThreeCrop'", "scale=(340, 256)), dict(type='ThreeCrop'",
         "data.test.pipeline.2.scale: (340, 256) is not supported here, only (-1, short side) before the crop and, in "
         "training, a square (size, size) after it"),
        ("dict(type='ThreeCrop', crop_size=256),", "", "data.test.pipeline: has no crop"),
        ("crop_size=256),", "crop_size=256), dict(type='ColorJitter'),",
         "data.test.pipeline.4.type: ColorJitter in the test pipeline makes the test random; take it out"),
        ("dict(type='ColorJitter'),\n    dict(type='Normalize', **img_norm_cfg), dict(type='FormatShape'",
         "dict(type='Normalize', **img_norm_cfg), dict(type='ColorJitter'), dict(type='FormatShape'",
         "data.train.pipeline.6.type: ColorJitter comes too late: "),
        ("input_format='NCTHW'", "input_format='NCHW'",
         "data.train.pipeline.7.input_format: 'NCHW' is not supported, only 'NCTHW'"),
        ("to_bgr=False", "to_bgr=True", "data.train.pipeline.6.to_bgr: True is not supported, only False"),
        ("dict(type='ColorJitter'),\n", "dict(type='ColorJitter', brightness=0.1),\n",
         "data.train.pipeline.5.brightness: 0.1 is not supported, only 0.5"),
    ],
)  # fmt: skip
def test_steps_that_would_show_something_else_are_refused(mmaction2, old, new, problem):
    mmaction2.change(KINETICS, (old, new))
    assert any(found.startswith(problem) for found in sentences(mmaction2.problems(KINETICS)))


def test_version_1_places_clips_of_several_frames_from_end_to_end(mmaction2):
    assert mmaction2.load(V1).data.test_clips == "spread"
    frames = build_fixed_views(mmaction2.load(V1), "test").indices(300)
    assert (frames[0, 0], frames[-1, -1]) == (0, 299)
    assert build_fixed_views(mmaction2.load(KINETICS), "test").indices(300)[0, 0] == 11
