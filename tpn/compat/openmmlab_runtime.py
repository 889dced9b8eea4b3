"""What an MMAction2 0.x config has besides the model: data section, optimizer, schedule, evaluation, files, log."""

from tpn.compat.foreign import Foreign, is_positive, shown
from tpn.compat.openmmlab_data import translate_dataset

METRICS = ("top_k_accuracy", "mean_class_accuracy")
BEST = {"top_k_accuracy": ("top1_acc",), "mean_class_accuracy": ("mean_class_accuracy",)}  # what `save_best` may name
NO_EFFECT = {
    "dist_params": "torchrun and the device decide",
    "log_level": "the log is complete",
    "mp_start_method": "chosen by the platform",
    "opencv_num_threads": "one thread per worker",
    "cudnn_benchmark": "follows from --deterministic",
    "find_unused_parameters": "every parameter is used",
    "gpu_ids": "torchrun and the device decide",
    "seed": "give --seed",
    "workflow": "give --validate for validation",
    "output_config": "give --out",
    "eval_config": "give --eval",
    "timestamp": "of a run that was",
    "config_name": "of a run that was",
}
REFUSED = {
    "resume_from": "give --resume-from on the command line, and --cfg-options resume_from=None here",
    "precise_bn": "recomputed batch-norm statistics are not supported; set precise_bn=None to train without",
    "multigrid": "multigrid training is not supported",
    "omnisource": "several training sources are not supported",
    "momentum_config": "a momentum schedule is not supported",
    "custom_hooks": "hooks are code and cannot be read as data",
}
KEYS = {"model", "data", "optimizer", "optimizer_config", "lr_config", "total_epochs", "evaluation", "work_dir",
        "checkpoint_config", "log_config", "load_from", "fp16", "module_hooks", *NO_EFFECT, *REFUSED}  # fmt: skip
MAX_STEPS = 1000  # milestones that a period of the learning rate may mean


def translate_runtime(config: Foreign, *, videos_per_gpu: object) -> None:
    """All but model and data. `videos_per_gpu` is the file's own, before --cfg-options: its lr is meant for that."""
    for key, why in NO_EFFECT.items():
        config.ignore(why, key)
    for key, fix in REFUSED.items():
        config.only(key, None, False, (), fix=fix)
    if not config.section.get("lr_config"):  # made for inference
        constant_rate(config)
    total_epochs = config.honour("total_epochs", default=1)
    translate_optimizer(config, videos_per_gpu=videos_per_gpu)
    if config.section.get("lr_config"):
        translate_schedule(config.child("lr_config"), config.section.get("optimizer"), total_epochs)
    translate_evaluation(config)
    translate_intervals(config)
    if config.take("fp16") is not None:
        note = "float16 with a loss scale that adapts itself"
        config.translate("fp16", "dtype", "float16", note)
    for key in ("work_dir", "load_from"):
        if key in config.section:
            config.honour(key)
    warn_of_url(config, "load_from")


def warn_of_url(config: Foreign, key: str) -> None:
    value = config.section.get(key)
    if isinstance(value, str) and "://" in value:
        note = f"{value} is not downloaded; before training, get it and set --cfg-options {key}=FILE"
        config.tell(key, "translated", note, notable=True)


# ------------------------------------------------------------------------------------------ optimizer and learning rate


def translate_optimizer(config: Foreign, *, videos_per_gpu: object) -> None:
    optimizer = config.child("optimizer")
    translate_sgd(optimizer)
    constructor = optimizer.take("constructor", "DefaultOptimizerConstructor")
    translate_policies(optimizer, tsm=constructor == "TSMOptimizerConstructor")
    optimizer.only("constructor", "DefaultOptimizerConstructor", "TSMOptimizerConstructor")
    if is_positive(videos_per_gpu):
        config.translation.put("optimizer.lr_batch_size", 8 * videos_per_gpu, optimizer.where("lr"))
        optimizer.tell(
            "lr", "translated", f"is for 8 GPUs x {videos_per_gpu} videos (--autoscale-lr scales from there)"
        )
    hook = config.child("optimizer_config")
    translate_clipping(hook, "grad_clip")
    if hook.take("type") in ("GradientCumulativeOptimizerHook", "GradientCumulativeFp16OptimizerHook"):
        hook.tell("type", "honoured")
        hook.honour("cumulative_iters", "optimizer.accumulation_steps", default=1)


def translate_sgd(optimizer: Foreign) -> None:
    """torch.optim.SGD's arguments, with its defaults."""
    optimizer.only("type", "SGD")
    for key, default in {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}.items():
        optimizer.honour(key, f"optimizer.{key}", default=default)
    optimizer.only("dampening", 0)


def translate_policies(owner: Foreign, *, tsm: bool) -> None:
    """TSM's constructor gives groups of parameters their own rates; the default one gives all the same."""
    if tsm:
        policies = "tsm_fc_lr5" if owner.child("paramwise_cfg").take("fc_lr5") else "tsm"
        owner.translate("paramwise_cfg", "optimizer.policies", policies, f"policies={policies!r}")
    else:
        owner.only("paramwise_cfg", None, {}, fix="rates per parameter need constructor='TSMOptimizerConstructor'")


def translate_clipping(owner: Foreign, key: str) -> None:
    if owner.take(key) is not None:
        clip = owner.child(key)
        clip.required("max_norm")
        clip.honour("max_norm", "optimizer.max_grad_norm")
        clip.only("norm_type", 2)


def translate_schedule(schedule: Foreign, optimizer: object, total_epochs: object) -> None:
    policy = schedule.take("policy")
    if policy in ("step", "Step"):
        schedule.translate("policy", "lr_config.policy", "step")
        translate_steps(schedule, total_epochs)
    elif policy in ("CosineAnnealing", "cosine"):
        schedule.translate("policy", "lr_config.policy", "cosine", "policy='cosine'")
        translate_cosine(schedule, optimizer)
    elif policy in ("fixed", "Fixed"):
        constant_rate(schedule)
        schedule.tell("policy", "translated", "a step schedule without steps")
    else:
        schedule.refuse("policy", f"{shown(policy)} is not supported, only 'step', 'CosineAnnealing' and 'fixed'")
    translate_warmup(schedule)


def constant_rate(owner: Foreign) -> None:
    owner.translation.put("lr_config.policy", "step", owner.line)
    owner.translation.put("lr_config.step", (), owner.line)


def translate_steps(schedule: Foreign, total_epochs: object) -> None:
    step = schedule.take("step", ...)
    if is_positive(step) and is_positive(total_epochs):
        milestones = range(step, total_epochs, step)
        if len(milestones) > MAX_STEPS:
            schedule.refuse(
                "step", f"every {step} epochs makes {len(milestones)} steps; at most {MAX_STEPS} make sense"
            )
        else:
            schedule.translate("step", "lr_config.step", tuple(milestones), f"every {step} epochs")
    else:
        schedule.honour("step", "lr_config.step")
    schedule.honour("gamma", "lr_config.gamma", default=0.1)
    schedule.only("min_lr", None)
    schedule.only("by_epoch", True)


def translate_cosine(schedule: Foreign, optimizer: object) -> None:
    """From the first epoch to the last; a warm-up multiplies it."""
    schedule.translation.put("lr_config.begin", 0, schedule.where("policy"))
    schedule.honour("by_epoch", "lr_config.by_epoch", default=True)
    ratio, lr = schedule.take("min_lr_ratio"), optimizer.get("lr") if isinstance(optimizer, dict) else None
    if ratio is None:
        schedule.honour("min_lr", "lr_config.min_lr", default=0)
    elif isinstance(ratio, int | float) and isinstance(lr, int | float):
        schedule.translate("min_lr_ratio", "lr_config.min_lr", ratio * lr, f"of lr {lr}")
    else:
        schedule.refuse("min_lr_ratio", f"expected a number, and one for optimizer.lr, got {shown(ratio)}")
    why = "of a step schedule, perhaps inherited; MMAction2 refuses to train with it"
    schedule.ignore(why, "step", "gamma", notable=True)


def translate_warmup(schedule: Foreign) -> None:
    if schedule.take("warmup") is None:
        schedule.ignore("without warmup", "warmup", "warmup_iters", "warmup_ratio", "warmup_by_epoch")
        return
    schedule.only("warmup", "linear")
    for key in ("warmup_iters", "warmup_by_epoch"):
        schedule.required(key)
    schedule.only("warmup_by_epoch", True, fix="a warm-up is given in epochs here, which may be fractions")
    schedule.honour("warmup_iters", "lr_config.warmup_epochs")
    schedule.honour("warmup_ratio", "lr_config.warmup_ratio", default=0.1)


# -------------------------------------------------------------------------------------------- evaluation, files and log


def translate_evaluation(config: Foreign) -> None:
    evaluation = config.child("evaluation")
    evaluation.honour("interval", "evaluation.interval", default=1)
    metrics = evaluation.take("metrics", "top_k_accuracy")
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    evaluation.translate("metrics", "evaluation.metrics", metrics)
    first = metrics[0] if isinstance(metrics, list | tuple) and metrics else None
    best = BEST.get(first, ()) if isinstance(first, str) else ()
    evaluation.only("save_best", "auto", None, *best, fix="the best is by the first of evaluation.metrics here")
    evaluation.only("by_epoch", True)
    options = evaluation.child("metric_options").child("top_k_accuracy")
    options.only("topk", (1, 5))
    evaluation.only("topk", (1, 5))
    evaluation.ignore("changes no number", "start", "rule", "gpu_collect", "tmpdir", "broadcast_bn_buffer")


def translate_intervals(config: Foreign) -> None:
    checkpoints = config.child("checkpoint_config")
    checkpoints.honour("interval", "checkpoint_config.interval", default=1)
    checkpoints.only("by_epoch", True)
    translate_kept(checkpoints)
    why = "checkpoints hold the optimizer and are in work_dir"
    checkpoints.ignore(why, "save_optimizer", "out_dir", "create_symlink", "save_last", "meta")
    log = config.child("log_config")
    log.honour("interval", "log_config.interval", default=10)
    for hook in log.children("hooks"):
        name = hook.take("type")
        if name == "TensorboardLoggerHook":
            hook.translate("type", "log_config.tensorboard", True, "tensorboard=True")
        elif name == "TextLoggerHook":
            hook.tell("type", "honoured")
        else:
            hook.ignore(no_such_log(name, "LoggerHook"), "type", notable=True)
        hook.ignore("how that log is written", *hook.section.keys() - {"type"})


def no_such_log(name: object, kind: str) -> str:
    """What a log that is not written here is called: 'WandbLoggerHook: no log to Wandb here; …'."""
    service = f"to {name.removesuffix(kind)}" if isinstance(name, str) and name.endswith(kind) else "of this kind"
    return f"{shown(name)}: no log {service} here, but text and JSON, and TensorBoard by log_config.tensorboard=True"


def translate_kept(checkpoints: Foreign) -> None:
    """How many checkpoints are kept: -1 is all of them there, and so is every number that is not above 0."""
    kept = checkpoints.take("max_keep_ckpts", -1)
    if isinstance(kept, int) and kept <= 0:
        checkpoints.translate("max_keep_ckpts", "checkpoint_config.max_keep_ckpts", None)
    else:
        checkpoints.honour("max_keep_ckpts", "checkpoint_config.max_keep_ckpts")


# ----------------------------------------------------------------------------------------------------- the data section


def translate_data(config: Foreign, kind: str, num_classes: object) -> None:
    """`data`: its three data sets and their loaders."""
    data = config.child("data")
    loader = data.child("train_dataloader")
    for key in ("videos_per_gpu", "workers_per_gpu"):
        data.honour(key, f"data.{key}", default=1)
        if key in loader.section:
            loader.honour(key, f"data.{key}")
    loader.only("drop_last", False, fix="every video is shown once an epoch")
    loader.only("shuffle", True)
    loader.ignore("changes no sample", "persistent_workers", "pin_memory", "prefetch_factor")
    data.ignore("changes no sample", "persistent_workers")
    data.ignore("the batch size changes no score", "val_dataloader", "test_dataloader")
    for key in ("omni_videos_per_gpu", "train_ratio"):
        data.only(key, None, fix="several training sources are not supported")
    for split in ("train", "val", "test"):
        if data.take(split) is None:
            config.translation.put(f"data.{split}.ann_file", "", data.line)
            data.tell(split, "translated", "missing: this config is for prediction and test only", notable=True)
        else:
            translate_dataset(data.child(split), split, kind, num_classes=num_classes)
