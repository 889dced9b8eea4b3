"""MMAction2 configs become our settings: what they mean, what is told, and what --cfg-options on them does."""

import logging

import pytest

import tpn
from tpn.compat import read_foreign_config
from tpn.config import dump_config
from tpn.config import load_config as load_recipe
from tpn.config.recipes import find_recipe
from tpn.config.section import Section

RECIPES = {
    "tpn/tpn_kinetics.py": "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb",
    "tpn/tpn_scratch.py": "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb",
    "tpn/tpn_sthv1.py": "tpn_tsm_r50_1x1x8_150e_sthv1_rgb",
}
EVERY = [*RECIPES, "v1/tpn_kinetics.py"]


def spelt_out(config) -> dict:
    """The settings, with what a split takes from `data` written into it, without what a file may choose freely."""
    settings = config.model_dump(exclude={"work_dir", "compat"})
    for split in ("val", "test"):
        for key in ("num_clips", "crop_size"):
            settings["data"][split][key] = settings["data"][split][key] or settings["data"][key]
    return settings


@pytest.mark.parametrize("name", RECIPES)
def test_a_published_config_is_the_recipe_of_the_same_name(mmaction2, name):
    assert spelt_out(mmaction2.load(name)) == spelt_out(load_recipe(find_recipe(RECIPES[name])))


def test_version_1_differs_from_0_in_video_files_test_clips_validations_and_kept_checkpoints(mmaction2):
    old, new = spelt_out(mmaction2.load("tpn/tpn_kinetics.py")), spelt_out(mmaction2.load("v1/tpn_kinetics.py"))
    assert (new["data"]["format"], new["data"]["test_clips"], new["evaluation"]["interval"]) == ("videos", "spread", 10)
    assert new["checkpoint_config"].pop("max_keep_ckpts") == 5 and not old["checkpoint_config"].pop("max_keep_ckpts")
    for settings in (old, new):
        del settings["data"]["format"], settings["data"]["test_clips"], settings["evaluation"]["interval"]
        for split in ("train", "val", "test"):
            del settings["data"][split]["ann_file"], settings["data"][split]["data_prefix"]
    assert new == old


@pytest.mark.parametrize("name", EVERY)
def test_a_translated_config_is_dumped_as_a_recipe(mmaction2, tmp_path, name):
    config = mmaction2.load(name)
    (tmp_path / "dumped.py").write_text(dump_config(config))
    assert load_recipe(tmp_path / "dumped.py") == config


def test_recipes_come_through_the_same_door(mmaction2):
    recipe = find_recipe(RECIPES["tpn/tpn_kinetics.py"])
    assert tpn.load_config(recipe, {"total_epochs": 3}) == load_recipe(recipe, {"total_epochs": 3})
    assert read_foreign_config(recipe) is None


# ----------------------------------------------------------------------------------------------------------- accounting


def leaves(section: Section, path: str = ""):
    """The dotted paths of all that a file sets, down to lists of sections."""
    for key, value in section.items():
        items = value if isinstance(value, list) and value and isinstance(value[0], Section) else None
        if isinstance(value, Section) and value:
            yield from leaves(value, f"{path}{key}.")
        elif items:
            for index, item in enumerate(items):
                yield from leaves(item, f"{path}{key}.{index}.")
        else:
            yield f"{path}{key}"


@pytest.mark.parametrize("name", EVERY)
def test_every_key_of_a_file_is_told(mmaction2, name):
    from tpn.config.reader import read_config_file

    told = mmaction2.read(name).told
    for path in leaves(read_config_file(mmaction2.folder / name)):
        parents = [path, *(path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1))]
        assert any(parent in told for parent in parents), f"{path} is not accounted for"


def test_an_unknown_key_is_an_error_with_its_place_and_the_nearest_name(mmaction2):
    mmaction2.change("_base_/models/tpn_slowonly_r50.py", ("norm_eval=False", "norm_evil=False, depht=3"))
    mmaction2.change("tpn/tpn_kinetics.py", ("total_epochs", "total_epoch"), ("crop_size=224", "crop_sise=224"))
    assert sorted(mmaction2.problems("tpn/tpn_kinetics.py")) == [
        "_base_/models/tpn_slowonly_r50.py:5: model.backbone.depht: unknown key (value 3); did you mean 'depth'?",
        "_base_/models/tpn_slowonly_r50.py:5: model.backbone.norm_evil: unknown key (value False); "
        "did you mean 'norm_eval'?",
        "tpn/tpn_kinetics.py:16: data.val.pipeline.3.crop_sise: unknown key (value 224); did you mean 'crop_size'?",
        "tpn/tpn_kinetics.py:39: total_epoch: unknown key (value 150); did you mean 'total_epochs'?",
    ]


def test_a_wrong_value_is_an_error_in_our_words_with_its_place(mmaction2):
    mmaction2.change("tpn/tpn_kinetics.py", ("videos_per_gpu=8, workers", "videos_per_gpu='many', workers"))
    place, _, sentence = mmaction2.problems("tpn/tpn_kinetics.py")[0].partition(": ")
    assert place.startswith("tpn/tpn_kinetics.py:")
    assert sentence == "data.videos_per_gpu: expected a positive integer, got 'many'"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("lateral=False", "frozen_stages=1", "model.backbone.frozen_stages: 1 is not supported, only -1"),
        ("lateral=False", "lateral=False, in_channels=2", "model.backbone.in_channels: 2 is not supported, only 3"),
        ("lateral=False", "lateral=False, non_local=(0, 1, 0, 0)", "model.backbone.non_local: (0, 1, 0, 0) is not "
         "supported, only (0, 0, 0, 0) or 0; non-local blocks are not built here"),
        ("'torchvision://resnet50'", "'torchvision://resnet101'",
         "model.backbone.pretrained: torchvision://resnet101 is of depth 101, the backbone of depth 50"),
        ("downsample_scales=(8, 8)", "downsample_scales=(4, 8)",
         "model.neck.upsample_cfg.scale_factor: (1, 1, 1) is not supported, only (2, 1, 1); "
         "follows from temporal scales (4, 8)"),
        ("downsample_scales=(8, 8)", "downsample_scales=8",
         "model.neck.temporal_modulation_cfg.downsample_scales: expected one temporal scale per level, 2, got 8"),
        ("'TPNHead'", "'TSNHead'", "model.cls_head.type: 'TSNHead' is not supported, only 'TPNHead' or 'I3DHead'"),
        ("train_cfg=None", "train_cfg=dict(blending=dict(type='MixupBlending'))", "model.train_cfg.blending: "
         "{'type': 'MixupBlending'} is not supported, only None; mixup and cutmix are not supported"),
    ],
)  # fmt: skip
def test_another_network_is_refused_by_the_key_that_makes_it_one(mmaction2, old, new, problem):
    mmaction2.change("_base_/models/tpn_slowonly_r50.py", (old, new))
    assert problem in [line.partition(": ")[2] for line in mmaction2.problems("tpn/tpn_kinetics.py")]


def test_other_projects_networks_are_named(mmaction2):
    mmaction2.change("_base_/models/tpn_tsm_r50.py", ("ResNetTSM", "MobileNetV2TSM"))
    assert mmaction2.problems("tpn/tpn_sthv1.py") == [
        "_base_/models/tpn_tsm_r50.py:3: model.backbone.type: 'Recognizer2D' on 'MobileNetV2TSM' is not supported, "
        "only Recognizer3D on ResNet3dSlowOnly or Recognizer2D on ResNetTSM are; train and test it with MMAction2"
    ]


def test_the_paper_authors_own_configs_are_pointed_to_our_recipes(mmaction2):
    mmaction2.change("_base_/models/tpn_tsm_r50.py", ("Recognizer2D", "TSN2D"))
    assert "decisionforce/TPN" in mmaction2.problems("tpn/tpn_sthv1.py")[0]


def test_weights_to_be_downloaded_are_named_but_do_not_stop_a_test(mmaction2):
    url = "https://download.openmmlab.com/x.pth"
    translation = mmaction2.read("tpn/tpn_kinetics.py", f"load_from={url}", f"model.backbone.pretrained={url}")
    assert f"{url} is not downloaded" in translation.told["load_from"].note
    assert "model.backbone.pretrained=FILE" in translation.told["model.backbone.pretrained"].note
    assert mmaction2.load("tpn/tpn_kinetics.py", f"load_from={url}").load_from == url


# -------------------------------------------------------------------------------------------------------------- telling


def test_a_few_lines_tell_what_may_surprise(mmaction2, caplog):
    mmaction2.load("tpn/tpn_sthv1.py")
    summary, *notes = caplog.records[0].getMessage().splitlines()
    assert "is an MMAction2 0.x config; its keys: " in summary
    assert len(notes) == 2
    assert notes[0].startswith("  data.train.filename_tmpl, data.val.filename_tmpl, data.test.filename_tmpl: missing;")
    assert notes[1].startswith("  data.train.pipeline: no flip_label_map: ")


def test_key_by_key_it_is_told_at_level_info(mmaction2, caplog):
    caplog.set_level(logging.INFO, logger="tpn")
    mmaction2.load("tpn/tpn_kinetics.py")
    rows = caplog.records[1].getMessage().splitlines()
    assert [" ".join(row.split()) for row in rows if row.startswith(("dist_params", "optimizer.momentum"))] == [
        "dist_params ignored torchrun and the device decide",
        "optimizer.momentum honoured",
    ]


def test_one_process_of_several_tells(mmaction2, caplog, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    mmaction2.load("tpn/tpn_sthv1.py")
    assert not caplog.records


# ------------------------------------------------------------------------------------------------------- --cfg-options


def test_options_have_the_files_keys(mmaction2):
    config = mmaction2.load(
        "tpn/tpn_kinetics.py",
        "model.cls_head.num_classes=51",
        "data.train.pipeline.0.frame_interval=4",
        "model.neck.temporal_modulation_cfg.downsample_scales=(4,4)",
        "model.test_cfg.average_clips=score",
        "optimizer_config.grad_clip.max_norm=20",
        "lr_config.step=[50,100]",
        "data.test.pipeline.0.num_clips=2",
        "data.videos_per_gpu=4",
    )
    assert (config.model.cls_head.num_classes, config.data.frame_interval) == (51, 4)
    assert config.model.neck is not None and config.model.neck.temporal_scales == (4, 4)
    assert (config.evaluation.average_clips, config.optimizer.max_grad_norm) == ("score", 20)
    assert (config.lr_config.step, config.data.test.num_clips, config.data.videos_per_gpu) == ((50, 100), 2, 4)


def test_activation_checkpointing_is_taken_over(mmaction2):
    assert not mmaction2.load("tpn/tpn_kinetics.py").model.backbone.with_cp
    assert mmaction2.load("tpn/tpn_kinetics.py", "model.backbone.with_cp=True").model.backbone.with_cp


def test_the_learning_rate_stays_that_of_the_files_own_batch(mmaction2):
    assert mmaction2.load("tpn/tpn_kinetics.py", "data.videos_per_gpu=4").optimizer.lr_batch_size == 64
    assert mmaction2.load("v1/tpn_kinetics.py", "train_dataloader.batch_size=4").optimizer.lr_batch_size == 64


@pytest.mark.parametrize("option", ["model.cls_head.num_classes=51", "model.neck.aux_head_cfg.out_channels=51"])
def test_an_option_for_one_head_is_for_both_and_told(mmaction2, option):
    assert mmaction2.load("tpn/tpn_kinetics.py", option).model.cls_head.num_classes == 51
    summary = mmaction2.read("tpn/tpn_kinetics.py", option).summary()
    assert f"400 gives way to {option.replace('=', ' = ')}: one setting here" in summary


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_option_for_one_split_is_for_all_and_told(mmaction2, split):
    option = f"data.{split}.pipeline.0.frame_interval=4"
    assert mmaction2.load("tpn/tpn_kinetics.py", option).data.frame_interval == 4
    others = [name for name in ("train", "val", "test") if name != split]
    keys = ", ".join(f"data.{name}.pipeline.0.frame_interval" for name in others)
    assert f"  {keys}: 8 gives way to" in mmaction2.read("tpn/tpn_kinetics.py", option).summary()


def test_options_that_contradict_each_other_are_refused_with_all_keys(mmaction2):
    options = ("data.train.pipeline.0.frame_interval=4", "data.val.pipeline.0.frame_interval=2")
    keys = " ".join(f"data.{split}.pipeline.0.frame_interval=VALUE" for split in ("train", "val", "test"))
    assert mmaction2.problems("tpn/tpn_kinetics.py", *options) == [
        "--cfg-options: data.train.pipeline.0.frame_interval: 4, but data.val.pipeline.0.frame_interval is 2 "
        f"(--cfg-options); one setting here: --cfg-options {keys}"
    ]


@pytest.mark.parametrize("index", [1, 3])
def test_an_option_for_the_wrong_step_of_a_pipeline_is_told_the_right_one(mmaction2, index):
    assert mmaction2.problems("tpn/tpn_kinetics.py", f"data.val.pipeline.{index}.frame_interval=4") == [
        f"--cfg-options: data.val.pipeline.{index}.frame_interval: unknown key (value 4); "
        "did you mean data.val.pipeline.0.frame_interval?"
    ]


def test_a_file_that_contradicts_itself_is_refused_until_an_option_settles_it(mmaction2):
    mmaction2.change("tpn/tpn_kinetics.py", ("frame_interval=8, num_clips=10", "frame_interval=4, num_clips=10"))
    (problem,) = mmaction2.problems("tpn/tpn_kinetics.py")
    assert "data.train.pipeline.0.frame_interval: 8, but data.test.pipeline.0.frame_interval is 4" in problem
    config = mmaction2.load("tpn/tpn_kinetics.py", "data.test.pipeline.0.frame_interval=4")
    assert config.data.frame_interval == 4


def test_a_forgotten_auxiliary_head_follows_the_classifier(mmaction2):
    mmaction2.change("tpn/tpn_scratch.py", ("pretrained=None)", "pretrained=None), cls_head=dict(num_classes=51)"))
    assert mmaction2.load("tpn/tpn_scratch.py").model.cls_head.num_classes == 51
    assert "400 gives way to" in mmaction2.read("tpn/tpn_scratch.py").summary()


def test_an_option_for_a_variable_of_the_file_is_told_where_its_value_went(mmaction2):
    assert mmaction2.problems("tpn/tpn_kinetics.py", "train_pipeline.0.frame_interval=4") == [
        "--cfg-options: train_pipeline.0.frame_interval: train_pipeline is a variable of the file, already copied to "
        "where it is used; set data.train.pipeline.0.frame_interval"
    ]
    assert (
        "set data.val.data_prefix and data.test.data_prefix"
        in (mmaction2.problems("tpn/tpn_kinetics.py", "data_root_val=x")[0])
    )


def test_options_may_also_name_settings_that_only_we_have(mmaction2):
    options = ("dtype=bfloat16", "compat.reference_bugs=True", "evaluation.average_clips=score", "data.crop_size=112")
    config = mmaction2.load("tpn/tpn_kinetics.py", *options)
    assert (config.dtype, config.compat.reference_bugs) == ("bfloat16", True)
    assert (config.evaluation.average_clips, config.data.crop_size) == ("score", 112)
    assert mmaction2.load("v1/tpn_kinetics.py", "data.videos_per_gpu=4", "optimizer.lr=1").data.videos_per_gpu == 4


def test_an_option_with_an_unknown_key_is_an_error(mmaction2):
    assert mmaction2.problems("tpn/tpn_kinetics.py", "model.cls_hed.num_classes=5", "optimzer.lr=1") == [
        "--cfg-options: optimzer: unknown key (value {'lr': 1}); did you mean 'optimizer'?",
        "--cfg-options: model.cls_hed: unknown key (value {'num_classes': 5}); did you mean 'cls_head'?",
    ]
