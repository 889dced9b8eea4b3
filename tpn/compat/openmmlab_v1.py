"""What an MMAction2 1.x config has besides the model: loaders, loops, optimizer wrapper, schedulers, hooks."""

from tpn.compat.foreign import Foreign, is_positive, shown
from tpn.compat.openmmlab_data import translate_dataset
from tpn.compat.openmmlab_runtime import (
    BEST,
    constant_rate,
    no_such_log,
    translate_clipping,
    translate_kept,
    translate_policies,
    translate_sgd,
    warn_of_url,
)

NO_EFFECT = {
    "default_scope": "names are MMAction2's",
    "env_cfg": "processes and the device decide",
    "log_processor": "the log has its own windows",
    "visualizer": "no visualizer",
    "log_level": "the log is complete",
    "launcher": "torchrun decides",
    "randomness": "give --seed and --deterministic",
    "val_cfg": "give --validate",
    "test_cfg": "tpn test",
    "test_evaluator": "give --eval and --out",
}
KEYS = {"model", "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "train_cfg", "optim_wrapper",
        "param_scheduler", "default_hooks", "custom_hooks", "vis_backends", "auto_scale_lr", "load_from", "resume",
        "work_dir", *NO_EFFECT}  # fmt: skip


def translate_runtime(config: Foreign, *, batch_size: object) -> None:
    """Everything but model and data. `batch_size` is the file's own, before --cfg-options: its lr is meant for it."""
    for key, why in NO_EFFECT.items():
        config.ignore(why, key)
    config.only("custom_hooks", (), None, fix="hooks are code and cannot be read as data")
    config.only("resume", False, None, fix="give --resume-from on the command line")
    for key in ("work_dir", "load_from"):
        if key in config.section:
            config.honour(key)
    warn_of_url(config, "load_from")
    loop = config.child("train_cfg")
    loop.only("type", "EpochBasedTrainLoop")
    loop.ignore("that is what by_epoch is for", "by_epoch")
    total_epochs = loop.honour("max_epochs", "total_epochs", default=1)
    loop.honour("val_interval", "evaluation.interval", default=1)
    loop.ignore("changes no number", "val_begin")
    loop.only("dynamic_intervals", None)
    translate_optimizer(config, batch_size=batch_size)
    translate_schedulers(config, total_epochs)
    translate_evaluator(config)
    translate_hooks(config)


# ------------------------------------------------------------------------------------------ optimizer and learning rate


def translate_optimizer(config: Foreign, *, batch_size: object) -> None:
    wrapper, scale = config.child("optim_wrapper"), config.child("auto_scale_lr")
    kind = wrapper.take("type", "OptimWrapper")
    wrapper.only("type", "OptimWrapper", "AmpOptimWrapper")
    if kind == "AmpOptimWrapper":
        wrapper.translate("type", "dtype", "float16", "float16 with a loss scale that adapts itself")
    wrapper.ignore("adapts itself", "loss_scale")
    wrapper.honour("accumulative_counts", "optimizer.accumulation_steps", default=1)
    translate_sgd(wrapper.child("optimizer"))
    wrapper.only("constructor", "DefaultOptimWrapperConstructor", "TSMOptimWrapperConstructor")
    translate_policies(wrapper, tsm=wrapper.take("constructor") == "TSMOptimWrapperConstructor")
    translate_clipping(wrapper, "clip_grad")
    base = scale.take("base_batch_size", 8 * batch_size if is_positive(batch_size) else ...)
    if base is not ...:
        scale.translate("base_batch_size", "optimizer.lr_batch_size", base, "what lr is meant for")
    scale.only("enable", False, fix="give --autoscale-lr")


def translate_schedulers(config: Foreign, total_epochs: object) -> None:
    """A LinearLR warm-up or none, then MultiStepLR, CosineAnnealingLR or nothing, each by epoch."""
    schedulers = config.children("param_scheduler")
    named = {name: next((each for each in schedulers if each.section.get("type") == name), None) for name in READERS}
    for scheduler in schedulers:
        scheduler.only("type", *READERS)
        scheduler.only("by_epoch", True)
        scheduler.only("convert_to_iter_based", False, fix="set it to False for a rate that changes by epoch")
    chosen = [each for each in named.values() if each is not None]
    if len(chosen) < len(schedulers) or (named["MultiStepLR"] and named["CosineAnnealingLR"]):
        config.refuse(
            "param_scheduler", "only a LinearLR and then one of MultiStepLR or CosineAnnealingLR is supported"
        )
        for scheduler in schedulers:
            scheduler.forgo()
        return
    if named["MultiStepLR"] is named["CosineAnnealingLR"]:
        constant_rate(config)
    for scheduler in chosen:
        READERS[scheduler.section["type"]](scheduler, total_epochs)


def read_warmup(scheduler: Foreign, total_epochs: object) -> None:
    """From start_factor in the first epoch to 1 in the last one before `end`."""
    end = scheduler.take("end", 0)
    if not is_positive(end) or end < 2:
        scheduler.refuse("end", f"{shown(end)} epochs of warm-up are not supported, only 2 or more are")
        return
    note = f"full rate from epoch {end} on"
    scheduler.only("begin", 0)
    scheduler.only("end_factor", 1)
    scheduler.honour("start_factor", "lr_config.warmup_ratio", default=1 / 3)
    scheduler.translate("end", "lr_config.warmup_epochs", end - 1, note)
    scheduler.translation.put("lr_config.warmup_by_epoch", True, scheduler.where("end"))


def read_steps(scheduler: Foreign, total_epochs: object) -> None:
    """mmengine counts milestones from `begin`."""
    begin, end, milestones = scheduler.take("begin", 0), scheduler.take("end"), scheduler.take("milestones", ())
    scheduler.honour("gamma", "lr_config.gamma", default=0.1)
    scheduler.translation.put("lr_config.policy", "step", scheduler.where("type"))
    known = isinstance(milestones, list | tuple) and all(map(is_positive, milestones))
    if not known or not (begin == 0 or is_positive(begin)) or not (end is None or is_positive(end)):
        scheduler.refuse("milestones", f"expected epochs for begin, end and milestones, got {shown(milestones)}")
        return
    steps = tuple(begin + step for step in milestones if end is None or begin + step < end)
    note = f"counted from begin={begin}, as mmengine does: {steps}" if begin else ""
    scheduler.translate("milestones", "lr_config.step", steps, note, notable=bool(begin))
    for key in ("begin", "end"):
        if key in scheduler.section:
            scheduler.tell(key, "translated", "of the milestones")


def read_cosine(scheduler: Foreign, total_epochs: object) -> None:
    scheduler.translation.put("lr_config.policy", "cosine", scheduler.where("type"))
    scheduler.translation.put("lr_config.by_epoch", True, scheduler.where("type"))
    begin = scheduler.honour("begin", "lr_config.begin", default=0)
    scheduler.honour("eta_min", "lr_config.min_lr", default=0)
    scheduler.only("eta_min_ratio", None)
    scheduler.only("end", total_epochs, fix="the cosine ends with the training")
    if isinstance(begin, int) and isinstance(total_epochs, int):
        scheduler.only("T_max", total_epochs - begin, None, fix="the cosine ends with the training")


READERS = {"LinearLR": read_warmup, "MultiStepLR": read_steps, "CosineAnnealingLR": read_cosine}


# ------------------------------------------------------------------------------------------------- evaluation and hooks


def translate_evaluator(config: Foreign) -> None:
    evaluator = config.child("val_evaluator")
    evaluator.only("type", "AccMetric")
    metrics = evaluator.take("metric_list", tuple(BEST))
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    evaluator.translate("metric_list", "evaluation.metrics", metrics)
    evaluator.only("metric_options", {"top_k_accuracy": {"topk": (1, 5)}})
    evaluator.ignore("changes no number", "collect_device", "prefix")


def translate_hooks(config: Foreign) -> None:
    """`default_hooks`: of eight kinds the intervals of two mean something here."""
    hooks = config.child("default_hooks")
    checkpoints, logger = hooks.child("checkpoint"), hooks.child("logger")
    checkpoints.honour("interval", "checkpoint_config.interval", default=1)
    checkpoints.only("type", "CheckpointHook")
    checkpoints.only("by_epoch", True)
    best = ("auto", None, "acc/top1", "acc/mean1")
    checkpoints.only("save_best", *best, fix="the best is by the first metric here")
    translate_kept(checkpoints)
    why = "checkpoints hold the optimizer and are in work_dir"
    checkpoints.ignore(why, "save_optimizer", "save_param_scheduler", "save_last", "rule", "out_dir")
    logger.only("type", "LoggerHook")
    logger.honour("interval", "log_config.interval", default=10)
    logger.ignore("how the log is written", "ignore_last", "interval_exp_name", "log_metric_by_epoch")
    kinds = ("runtime_info", "timer", "param_scheduler", "sampler_seed", "sync_buffers", "visualization")
    hooks.ignore("the training loop does it", *kinds)
    backends = config.children("vis_backends")
    for backend in backends:
        name = backend.take("type")
        if name == "TensorboardVisBackend":
            backend.translate("type", "log_config.tensorboard", True, "tensorboard=True")
        elif name == "LocalVisBackend":
            backend.ignore("text and JSON are always written", "type")
        else:
            backend.ignore(no_such_log(name, "VisBackend"), "type", notable=True)
        backend.ignore("how that log is written", *backend.section.keys() - {"type"})


# ---------------------------------------------------------------------------------------------------------- the loaders


def translate_data(config: Foreign, kind: str, num_classes: object) -> None:
    """The three data loaders and their data sets."""
    for split in ("train", "val", "test"):
        key, train = f"{split}_dataloader", split == "train"
        if config.take(key) is None:
            config.translation.put(f"data.{split}.ann_file", "", config.line)
            config.tell(key, "translated", "missing: this config is for prediction and test only", notable=True)
            continue
        loader = config.child(key)
        if train:
            loader.honour("batch_size", "data.videos_per_gpu", default=1)
            loader.honour("num_workers", "data.workers_per_gpu", default=0)
            loader.only("drop_last", False, fix="every video is shown once an epoch")
        loader.ignore("changes no score", "batch_size", "num_workers", "drop_last")
        loader.ignore("changes no sample", "persistent_workers", "pin_memory", "prefetch_factor")
        sampler = loader.child("sampler")
        sampler.only("type", "DefaultSampler")
        sampler.only("shuffle", train)
        loader.only("collate_fn", {"type": "pseudo_collate"})
        translate_dataset(loader.child("dataset"), split, kind, num_classes=num_classes)
