"""MMAction2 configs of TPN, TSM and SlowOnly recognition: which they are, 0.x or 1.x, and their way to our settings."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tpn.compat import openmmlab_runtime, openmmlab_v1
from tpn.compat.foreign import Foreign, Translation, plain, shown
from tpn.compat.openmmlab_models import translate_model
from tpn.config.fields import find_field
from tpn.config.hints import did_you_mean
from tpn.config.overrides import WHERE, apply_overrides
from tpn.config.section import Section
from tpn.config.settings import Compat

V0_KEYS = {"dist_params", "log_level", "workflow", "optimizer_config", "resume_from", "dataset_type"}
V1_KEYS = {"train_dataloader", "test_dataloader", "default_scope", "optim_wrapper", "param_scheduler", "default_hooks"}
# Settings that have the same name and meaning in 0.x: an option of this name is for the file. 1.x has only the model's.
SAME = {
    *("data.videos_per_gpu", "data.workers_per_gpu", "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay"),
    *("optimizer.nesterov", "lr_config.policy", "lr_config.step", "lr_config.gamma", "lr_config.min_lr"),
    *("lr_config.by_epoch", "evaluation.interval", "evaluation.metrics", "checkpoint_config.interval"),
    *("log_config.interval", "total_epochs", "data", "data.train", "data.val", "data.test", "optimizer", "lr_config"),
    *(f"data.{split}.{key}" for split in ("train", "val", "test") for key in ("ann_file", "data_prefix")),
    *("data.start_index", "evaluation", "checkpoint_config", "checkpoint_config.max_keep_ckpts", "log_config"),
}
SAME_MODEL = {
    *("model", "model.backbone", "model.neck", "model.cls_head", "model.neck.flow_type", "work_dir", "load_from"),
    *(f"model.backbone.{key}" for key in ("type", "depth", "base_channels", "pretrained", "norm_eval", "inflate")),
    *(f"model.backbone.{key}" for key in ("num_segments", "shift_div")),
    *(f"model.cls_head.{key}" for key in ("num_classes", "dropout_ratio", "init_std")),
}


def dialect(section: Section) -> Literal[0, 1] | None:
    """0 or 1 for a config of MMAction2 0.x or 1.x, None for ours."""
    model = section.get("model")
    head = model.get("cls_head") if isinstance(model, dict) else None
    if V1_KEYS & section.keys() or (isinstance(model, dict) and "data_preprocessor" in model):
        return 1
    if V0_KEYS & section.keys() or (isinstance(model, dict) and "type" in model) or (
        isinstance(head, dict) and "type" in head
    ):  # fmt: skip
        return 0
    return None


def translate(section: Section, path: str, version: Literal[0, 1], overrides: Mapping[str, Any]) -> Translation:
    """Translate a config file's section with `--cfg-options` on it: the file's keys first, then what only we have.

    Problems are collected in the result; without any, its `settings` are a config of ours, yet to be validated.
    """
    ours = {key: value for key, value in overrides.items() if is_ours(key, version)}
    theirs = {key: value for key, value in overrides.items() if key not in ours}
    switches = {key.removeprefix("compat."): value for key, value in ours.items() if key.startswith("compat.")}
    translation = Translation(path, version, compat=Compat.model_construct(**switches))
    batch_size = batch_size_of(section, version)
    keys = openmmlab_runtime.KEYS if version == 0 else openmmlab_v1.KEYS
    translation.problems += misplaced(section, theirs, keys)
    translation.problems += apply_overrides(section, theirs)
    if not translation.problems:
        translate_sections(translation, section, keys, batch_size=batch_size)
        translation.close()
        translation.problems += apply_overrides(translation.settings, ours)
    return translation


def translate_sections(translation: Translation, section: Section, keys: set[str], *, batch_size: object) -> None:
    config = translation.open(section, "", translation.path)
    if translation.version == 0:
        adopt_test_cfg(section)
    tell_variables(config, keys)
    model = config.child("model")
    kind = translate_model(model)
    if not kind:
        config.forgo()
        return
    head = section["model"].get("cls_head")
    num_classes = head.get("num_classes") if isinstance(head, dict) else None
    if translation.version == 0:
        translate_gpu_normalize(config)
        openmmlab_runtime.translate_data(config, kind, num_classes)
        openmmlab_runtime.translate_runtime(config, videos_per_gpu=batch_size)
    else:
        openmmlab_v1.translate_data(config, kind, num_classes)
        openmmlab_v1.translate_runtime(config, batch_size=batch_size)
    complete_views(translation)
    check_floor(translation)


def adopt_test_cfg(section: Section) -> None:
    """Older 0.x files have `train_cfg` and `test_cfg` beside the model."""
    model = section.get("model")
    for key in ("train_cfg", "test_cfg"):
        if key in section and isinstance(model, Section):
            line = section.lines[key]
            model.put(key, model.get(key) or section.pop(key), line)
            section.pop(key, None)


def translate_gpu_normalize(config: Foreign) -> None:
    """`module_hooks` with GPUNormalize: normalisation moved to the GPU, where ours is anyway."""
    for hook in config.children("module_hooks"):
        hook.only("type", "GPUNormalize", fix="hooks are code and cannot be read as data")
        hook.only("hooked_module", "backbone")
        hook.only("hook_pos", "forward_pre")
        hook.ignore("follows from the backbone", "input_format")
        for key in ("mean", "std"):
            hook.required(key)
            hook.fact(key, f"data.{key}", hook.take(key))
        config.translation.normalized_on_gpu = True


def complete_views(translation: Translation) -> None:
    """A config without training data leaves open what one training sample is; one view, as large as in the test."""
    data, facts = translation.settings.get("data", Section()), translation.facts
    clip_len = facts["data.clip_len"][0].value if "data.clip_len" in facts else 1
    segments = facts.get("model.backbone.num_segments")
    if "num_clips" not in data:
        frames = segments[0].value if segments else clip_len
        whole = isinstance(frames, int) and isinstance(clip_len, int) and clip_len > 0
        translation.put("data.num_clips", frames // clip_len if whole else 1, translation.path)
    test = data.get("test", Section())
    if "data.crop_size" not in facts and "crop_size" in test:
        translation.put("data.crop_size", test["crop_size"], translation.path)


def check_floor(translation: Translation) -> None:
    """A cosine that ends above zero ends there for every group of parameters in the reference, in proportion here."""
    optimizer, schedule = (translation.settings.get(name, Section()) for name in ("optimizer", "lr_config"))
    if schedule.get("min_lr") and optimizer.get("policies", "uniform") != "uniform":
        value = shown(schedule["min_lr"])
        translation.problem(schedule.lines["min_lr"], "lr_config", f"ends at {value}, only at 0 with TSM's constructor")


# ------------------------------------------------------------------------------------------------------ the file's keys


def tell_variables(config: Foreign, keys: set[str]) -> None:
    """Names at the top that MMAction2's runner does not read are variables of the file, or misspelt keys."""
    for name in [name for name in config.section if name not in keys]:
        optional = config.where(name) == WHERE  # an option is no variable
        meant = did_you_mean(name, keys if optional else keys - config.section.keys())
        if meant or optional:
            config.refuse(name, f"unknown key (value {shown(config.section[name])}){meant}")
        else:
            config.ignore("a variable of the file", name)


def misplaced(section: Section, overrides: Mapping[str, Any], keys: set[str]) -> Iterator[str]:
    """Options that change a variable of the file: its value has been copied to where it is used."""
    for dotted in overrides:
        name, _, rest = dotted.partition(".")
        if name in section and name not in keys:
            uses = [f"{path}.{rest}" if rest else path for path in find_value(section, section[name], keys)]
            instead = f"set {' and '.join(uses)}" if uses else "set the key that has its value"
            yield f"{WHERE}: {dotted}: {name} is a variable of the file, already copied to where it is used; {instead}"


def find_value(section: Section, value: Any, keys: set[str]) -> list[str]:
    """Where in the sections that count a value stands, at most three levels deep."""
    wanted, found = plain(value), []

    def walk(inner: Section, path: str, depth: int) -> None:
        for key, item in inner.items():
            if depth == 0 and key not in keys:
                continue
            if plain(item) == wanted:
                found.append(f"{path}{key}")
            elif isinstance(item, Section) and depth < 3:
                walk(item, f"{path}{key}.", depth + 1)

    walk(section, "", 0)
    return found


def is_ours(dotted: str, version: Literal[0, 1]) -> bool:
    """Whether an option names a setting that only we have, such as `dtype` or `compat.reference_bugs`."""
    same = SAME_MODEL | SAME if version == 0 else SAME_MODEL
    return dotted not in same and find_field(dotted.split(".")) is not None


def batch_size_of(section: Section, version: Literal[0, 1]) -> Any:
    """Videos per GPU as the file has them."""
    loader = section.get("data" if version == 0 else "train_dataloader")
    return loader.get("videos_per_gpu" if version == 0 else "batch_size", 1) if isinstance(loader, dict) else 1
