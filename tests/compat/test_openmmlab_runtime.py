"""Optimizer, schedule, evaluation, files and log of MMAction2 0.x and 1.x configs mean the same here."""

import math

import pytest
import torch

from tpn.config.settings import Head, Model, Optimizer, TSMBackbone
from tpn.engine.optim import build_optimizer, learning_rate, set_learning_rate
from tpn.models.recognizer import build_recognizer

KINETICS, V1 = "tpn/tpn_kinetics.py", "v1/tpn_kinetics.py"
SCHEDULE = "lr_config = dict(policy='step', step=[75, 125])"
SCHEDULERS = "[dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[75, 125], gamma=0.1)]"


def rates(config, steps: int = 4) -> list[float]:
    """The learning rate of every step, `steps` an epoch."""
    return [
        learning_rate(config.lr_config, lr=config.optimizer.lr, progress=step / steps, total_epochs=config.total_epochs)
        for step in range(config.total_epochs * steps)
    ]


def mmcv_rates(regular, *, epochs: int, warmup: int = 0, ratio: float = 0.1, steps: int = 4) -> list[float]:
    """mmcv 1.7's LrUpdaterHook: `regular(progress in epochs)`, times a factor that rises over the warm-up's steps."""
    factors = [1 - (1 - step / (warmup * steps)) * (1 - ratio) if step < warmup * steps else 1
               for step in range(epochs * steps)]  # fmt: skip
    return [regular(step / steps) * factor for step, factor in enumerate(factors)]


def cosine(progress: float, *, lr: float, epochs: int, min_lr: float = 0) -> float:
    return min_lr + 0.5 * (lr - min_lr) * (1 + math.cos(math.pi * progress / epochs))


# ------------------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy='step', step=[4, 8], gamma=0.5",
         mmcv_rates(lambda at: 0.01 * 0.5 ** sum(int(at) >= step for step in (4, 8)), epochs=10)),
        ("policy='step', step=3", mmcv_rates(lambda at: 0.01 * 0.1 ** (int(at) // 3), epochs=10)),
        ("policy='fixed'", mmcv_rates(lambda at: 0.01, epochs=10)),
        ("policy='step', step=[4, 8], warmup='linear', warmup_by_epoch=True, warmup_iters=5",
         mmcv_rates(lambda at: 0.01 * 0.1 ** sum(int(at) >= step for step in (4, 8)), epochs=10, warmup=5)),
        ("policy='CosineAnnealing', min_lr=0", mmcv_rates(lambda at: cosine(int(at), lr=0.01, epochs=10), epochs=10)),
        ("policy='CosineAnnealing', min_lr=0.001, by_epoch=False",
         mmcv_rates(lambda at: cosine(at, lr=0.01, epochs=10, min_lr=0.001), epochs=10)),
        ("policy='CosineAnnealing', min_lr_ratio=0.2, step=[1], warmup='linear', warmup_by_epoch=True, warmup_iters=3, "
         "warmup_ratio=0.25",
         mmcv_rates(lambda at: cosine(int(at), lr=0.01, epochs=10, min_lr=0.002), epochs=10, warmup=3, ratio=0.25)),
    ],
)  # fmt: skip
def test_a_schedule_of_mmcv_gives_the_same_rates(mmaction2, text, expected):
    mmaction2.change(KINETICS, (SCHEDULE, f"lr_config = dict({text})"), ("total_epochs = 150", "total_epochs = 10"))
    assert rates(mmaction2.load(KINETICS)) == pytest.approx(expected, rel=1e-12)


def test_steps_that_a_cosine_leaves_out_are_told(mmaction2):
    summary = mmaction2.read(KINETICS, "lr_config.policy=CosineAnnealing").summary()
    assert "  lr_config.step: of a step schedule, perhaps inherited; MMAction2 refuses to train with it" in summary
    assert "lr_config.step" not in mmaction2.read(KINETICS).summary()


@pytest.mark.parametrize(("value", "kept"), [("-1", None), ("0", None), ("3", 3), ("None", None)])
def test_an_option_says_how_many_checkpoints_are_kept_in_mmcvs_words(mmaction2, value, kept):
    config = mmaction2.load(KINETICS, f"checkpoint_config.max_keep_ckpts={value}")
    assert config.checkpoint_config.max_keep_ckpts == kept


# What mmengine 0.10.7 makes of these, epoch by epoch, with lr=1.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dict(type='LinearLR', start_factor=0.1, begin=0, end=4), "
         "dict(type='MultiStepLR', begin=4, end=10, milestones=[2, 5], gamma=0.1)",
         [0.1, 0.4, 0.7, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]),
        ("dict(type='LinearLR', start_factor=0.25, begin=0, end=4), "
         "dict(type='CosineAnnealingLR', begin=4, end=10, T_max=6, eta_min=0.1)",
         [0.25, 0.5, 0.75, 1.0, 1.0, 0.939711, 0.775, 0.55, 0.325, 0.160289]),
        ("dict(type='LinearLR', begin=0, end=4), dict(type='MultiStepLR', begin=0, milestones=[2, 5])",
         [0.333333, 0.555556, 0.077778, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01]),
        ("", [1.0] * 10),
    ],
)  # fmt: skip
def test_schedulers_of_mmengine_give_the_same_rates(mmaction2, text, expected):
    mmaction2.change(V1, (SCHEDULERS, f"[{text}]"), ("max_epochs=150", "max_epochs=10"), ("lr=0.01", "lr=1.0"))
    assert rates(mmaction2.load(V1), steps=2)[::2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("policy='poly', power=1", "policy: 'poly' is not supported, only 'step', 'CosineAnnealing' and 'fixed'"),
        ("policy='step', step=[1], warmup='exp', warmup_iters=1, warmup_by_epoch=True",
         "warmup: 'exp' is not supported, only 'linear'"),
        ("policy='step', step=[1], warmup='linear', warmup_iters=500", "warmup_by_epoch: missing"),
        ("policy='step', step=[1], by_epoch=False", "by_epoch: False is not supported, only True"),
    ],
)  # fmt: skip
def test_other_schedules_are_refused(mmaction2, text, problem):
    mmaction2.change(KINETICS, (SCHEDULE, f"lr_config = dict({text})"))
    assert any(f"lr_config.{problem}" in line for line in mmaction2.problems(KINETICS))


@pytest.mark.parametrize(
    "text",
    [
        "dict(type='OneCycleLR', total_steps=10)",
        "dict(type='CosineAnnealingLR', T_max=99)",
        "dict(type='MultiStepLR', milestones=[1], by_epoch=False)",
        "dict(type='MultiStepLR', milestones=[1]), dict(type='CosineAnnealingLR', T_max=150)",
        "dict(type='LinearLR', end=1), dict(type='MultiStepLR', milestones=[1])",
    ],
)
def test_other_schedulers_are_refused(mmaction2, text):
    mmaction2.change(V1, (SCHEDULERS, f"[{text}]"))
    assert mmaction2.problems(V1)[0].startswith("v1/tpn_kinetics.py:")


# ------------------------------------------------------------------------------------------------------------ optimizer


def test_what_sgd_is_not_told_is_torchs_default(mmaction2):
    mmaction2.change(KINETICS, (", momentum=0.9, weight_decay=0.0001, nesterov=True", ""))
    optimizer = mmaction2.load(KINETICS).optimizer
    assert (optimizer.momentum, optimizer.weight_decay, optimizer.nesterov) == (0, 0, False)


def test_tsms_constructor_is_our_policies(mmaction2):
    mmaction2.change(KINETICS, ("type='SGD',", "type='SGD', constructor='TSMOptimizerConstructor', "
                                "paramwise_cfg=dict(fc_lr5=True),"))  # fmt: skip
    assert mmaction2.load(KINETICS).optimizer.policies == "tsm_fc_lr5"
    assert mmaction2.load(KINETICS, "optimizer.paramwise_cfg.fc_lr5=False").optimizer.policies == "tsm"
    mmaction2.change(V1, ("optim_wrapper = dict(", "optim_wrapper = dict(constructor='TSMOptimWrapperConstructor', "
                          "paramwise_cfg=dict(fc_lr5=True),"))  # fmt: skip
    assert mmaction2.load(V1).optimizer.policies == "tsm_fc_lr5"


def test_a_floor_of_the_rate_that_differs_by_group_is_refused(mmaction2):
    constructor = "constructor='TSMOptimizerConstructor', paramwise_cfg=dict(fc_lr5=True)"
    mmaction2.change(KINETICS, ("type='SGD',", f"type='SGD', {constructor},"),
                     (SCHEDULE, "lr_config = dict(policy='CosineAnnealing', min_lr=0.001)"))  # fmt: skip
    assert "ends at 0.001, only at 0 with TSM's constructor" in mmaction2.problems(KINETICS)[0]
    mmaction2.load(KINETICS, "lr_config.min_lr=0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type='SGD'", "type='Adam'"),
        ("type='SGD'", "type='SGD', dampening=0.1"),
        ("type='SGD'", "type='SGD', paramwise_cfg=dict(bias_lr_mult=2)"),
        ("norm_type=2", "norm_type=1"),
    ],
)
def test_other_optimization_is_refused(mmaction2, old, new):
    mmaction2.change(KINETICS, (old, new))
    assert "is not supported, only" in mmaction2.problems(KINETICS)[0]


@pytest.fixture(scope="module")
def tsm():
    backbone = TSMBackbone(type="ResNetTSM", depth=14, base_channels=8)
    return build_recognizer(Model(backbone=backbone, cls_head=Head(num_classes=5)))


@pytest.mark.parametrize(("policies", "times"), [("tsm", 1), ("tsm_fc_lr5", 5)])
def test_tsms_policies_set_rate_and_decay_of_each_parameter(tsm, policies, times):
    optimizer = build_optimizer(tsm, Optimizer(lr=0.1, weight_decay=0.01, policies=policies))
    set_learning_rate(optimizer, 0.5)
    found = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    assert len(found) == len(list(tsm.parameters())) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in tsm.named_parameters():
        last, bias, norm = name.startswith("cls_head.fc_cls"), name.endswith("bias"), ".bn." in name
        factor = (times if last else 1) * (2 if bias and not norm else 1)
        assert found[parameter]["lr"] == pytest.approx(0.5 * factor), name
        assert found[parameter]["weight_decay"] == (0 if bias or norm else 0.01), name


def test_uniform_policies_are_one_group(tsm):
    (group,) = build_optimizer(tsm, Optimizer()).param_groups
    assert len(group["params"]) == len(list(tsm.parameters()))


def test_dropout_per_frame_averages_independent_masks(tsm):
    """TSMHead drops out and classifies each frame, then averages: noise of one frame is 1/T of it."""
    settings = {"num_classes": 2, "dropout_ratio": 0.5}
    features = torch.ones(200, 64, 8, 2, 2)
    spread = {}
    for per_frame in (True, False):
        torch.manual_seed(0)
        backbone = TSMBackbone(type="ResNetTSM", depth=14, base_channels=2)
        head = build_recognizer(
            Model(backbone=backbone, neck=None, cls_head=Head(**settings, dropout_per_frame=per_frame))
        ).cls_head
        with torch.no_grad():
            head.fc_cls.weight.fill_(1 / 64)
            assert head.eval()(features) == pytest.approx(torch.ones(200, 2), abs=1e-5)
            spread[per_frame] = head.train()(features)[:, 0].var().item()
    assert spread[False] / spread[True] == pytest.approx(8, rel=0.5)


# -------------------------------------------------------------------------------------------- evaluation, files and log


def test_fp16_tensorboard_and_intervals(mmaction2):
    mmaction2.change(KINETICS, ("name =", "fp16 = dict(loss_scale=512.)\nname ="))
    mmaction2.change(
        "_base_/default_runtime.py",
        ("hooks=[", "hooks=[dict(type='TensorboardLoggerHook'), "),
        ("dict(interval=1)", "dict(interval=4, max_keep_ckpts=3)"),
    )
    config = mmaction2.load(KINETICS)
    assert (config.dtype, config.log_config.tensorboard, config.log_config.interval) == ("float16", True, 20)
    assert (config.checkpoint_config.interval, config.evaluation.interval) == (4, 5)
    assert config.checkpoint_config.max_keep_ckpts == 3


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ("dict(type='WandbLoggerHook', init_kwargs=dict(project='x'))", "'WandbLoggerHook': no log to Wandb here"),
        ("dict(type='MlflowLoggerHook')", "'MlflowLoggerHook': no log to Mlflow here"),
        ("dict(type='MyLog')", "'MyLog': no log of this kind here"),
    ],
)
def test_a_log_that_is_not_written_here_is_named(hook, told, mmaction2):
    mmaction2.change("_base_/default_runtime.py", ("hooks=[", f"hooks=[dict(type='TensorboardLoggerHook'), {hook}, "))
    (line,) = [line for line in mmaction2.read(KINETICS).summary().splitlines() if "no log" in line]
    assert line == (
        f"  log_config.hooks.1.type: {told}, but text and JSON, and TensorBoard by log_config.tensorboard=True"
    )


def test_a_backend_of_version_1_that_is_not_written_here_is_named(mmaction2):
    assert "vis_backends" not in mmaction2.read(V1).summary()
    mmaction2.change(V1, ("dict(type='LocalVisBackend')", "dict(type='LocalVisBackend'), dict(type='WandbVisBackend')"))
    assert "vis_backends.1.type: 'WandbVisBackend': no log to Wandb here" in mmaction2.read(V1).summary()


def test_gradients_are_accumulated_as_there(mmaction2):
    hook = "optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4, grad_clip=None)"
    mmaction2.change("tpn/tpn_scratch.py", ("model =", f"{hook}\nmodel ="))
    assert mmaction2.load("tpn/tpn_scratch.py").optimizer.accumulation_steps == 4


def test_version_1_has_them_elsewhere(mmaction2):
    mmaction2.change(
        V1,
        ("optim_wrapper = dict(", "optim_wrapper = dict(type='AmpOptimWrapper',"),
        ("dict(type='LocalVisBackend')", "dict(type='TensorboardVisBackend')"),
        ("load_from = None", "auto_scale_lr = dict(enable=False, base_batch_size=128)\nload_from = None"),
    )
    config = mmaction2.load(V1)
    assert (config.dtype, config.log_config.tensorboard, config.optimizer.lr_batch_size) == ("float16", True, 128)


def test_scores_without_a_way_to_average_are_averaged_logits_and_told(mmaction2):
    option = "model.test_cfg.average_clips=None"
    assert mmaction2.load(KINETICS, option).evaluation.average_clips == "score"
    assert "one row of scores per view" in mmaction2.read(KINETICS, option).summary()


def test_test_cfg_may_stand_beside_the_model(mmaction2):
    mmaction2.change("_base_/models/tpn_slowonly_r50.py", ("    test_cfg=dict(average_clips='prob'))", ")"))
    mmaction2.change(KINETICS, ("name =", "train_cfg = None\ntest_cfg = dict(average_clips='score')\nname ="))
    assert mmaction2.load(KINETICS).evaluation.average_clips == "score"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "resume_from = 'a.pth'",
            "resume_from: 'a.pth' is not supported, only None or False or (); give --resume-from",
        ),
        ("precise_bn = dict(num_iters=200)", "precise_bn: {'num_iters': 200} is not supported"),
        ("omnisource = True", "omnisource: True is not supported"),
        ("multigrid = dict(long_cycle=True)", "multigrid: "),
        ("custom_hooks = [dict(type='EMAHook')]", "custom_hooks: "),
        ("module_hooks = [dict(type='OtherHook')]", "module_hooks.0.type: 'OtherHook' is not supported"),
        ("evaluation = dict(save_best='top5_acc')", "evaluation.save_best: 'top5_acc' is not supported"),
        ("evaluation = dict(metrics=['mmit_mean_average_precision'])", "evaluation.metrics: expected"),
    ],
)
def test_what_would_change_the_result_is_refused(mmaction2, text, problem):
    mmaction2.change("tpn/tpn_scratch.py", ("model =", f"{text}\nmodel ="))
    assert any(problem in line for line in mmaction2.problems("tpn/tpn_scratch.py"))


def test_what_changes_no_result_is_ignored_and_told(mmaction2):
    lines = ["gpu_ids = range(0, 8)", "cudnn_benchmark = True", "find_unused_parameters = False", "omnisource = False",
             "seed = 0", "module_hooks = []", "checkpoint_config = dict(interval=1, max_keep_ckpts=-1)"]  # fmt: skip
    plain = mmaction2.load("tpn/tpn_scratch.py")
    mmaction2.change("tpn/tpn_scratch.py", ("model =", "\n".join([*lines, "model ="])))
    assert mmaction2.load("tpn/tpn_scratch.py") == plain
    told = mmaction2.read("tpn/tpn_scratch.py").told
    assert {told[name].verdict for name in ("gpu_ids", "cudnn_benchmark", "seed")} == {"ignored"}
