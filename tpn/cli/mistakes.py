"""What is wrong with the arguments of a command, in one sentence that also says what may have been meant."""

import re
import shlex

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

# Options that other programs have, and the setting or option that is meant, by how the option is written.
SETTINGS = {
    "--lr": "optimizer.lr", "--learning-rate": "optimizer.lr", "--momentum": "optimizer.momentum",
    "--weight-decay": "optimizer.weight_decay", "--wd": "optimizer.weight_decay",
    "--epochs": "total_epochs", "--max-epochs": "total_epochs", "--total-epochs": "total_epochs",
    "--batch-size": "data.videos_per_gpu", "--videos-per-gpu": "data.videos_per_gpu",
    "--workers": "data.workers_per_gpu", "--num-workers": "data.workers_per_gpu",
    "--num-classes": "model.cls_head.num_classes", "--load-from": "load_from",
}  # fmt: skip
OPTIONS = {"--resume": "--auto-resume or --resume-from FILE", "--amp": "--dtype float16", "--fp16": "--dtype float16"}
GPU = re.compile(r"gpu.*|cuda.+|nvidia|\d+", re.IGNORECASE)


def usage_problem(error: CycloptsError) -> str:
    """The mistake in one sentence: cyclopts says it in several, and some in words of its own."""
    if isinstance(error, UnusedCliTokensError):
        tokens = error.unused_tokens or []
        hint = f"; settings are changed by --cfg-options {tokens[0]}" if tokens and is_assignment(tokens[0]) else ""
        return f"unexpected argument {shlex.join(tokens)}{hint}"
    if type(error) is MissingArgumentError and error.argument is not None:
        return f"{error.keyword} needs a value" if error.keyword else f"{error.argument.name} is missing"
    sentences = re.split(r"(?<=[.?]) (?=[A-Z-])", " ".join(str(error).split()))
    told = [sentence.rstrip(".") for sentence in sentences if not sentence.startswith("Available commands")]
    if meant := meant_by(error):
        told = [sentence for sentence in told if not sentence.startswith("Did you mean")] + [meant]
    return "; ".join(sentence[0].lower() + sentence[1:] for sentence in told).replace("option: ", "option ", 1)


def is_assignment(text: str) -> bool:
    """Whether the text is like a=1 or a.b=1."""
    return re.match(r"[a-z_]+(\.\w+)*=", text) is not None


def meant_by(error: CycloptsError) -> str:
    """What to write instead, where we know better than by likeness of the letters; else ''."""
    if isinstance(error, CoercionError) and error.token is not None and error.token.keyword == "--device":
        return 'did you mean "cuda"?' if GPU.fullmatch(error.token.value) else ""
    if not isinstance(error, UnknownOptionError):
        return ""
    option = (error.token.keyword or error.token.value).split("=")[0]
    known = {name for argument in error.argument_collection for name in argument.names}
    spelt = option.replace("_", "-")
    if spelt in OPTIONS and any(name in OPTIONS[spelt] for name in known if name.startswith("--")):
        return f"that is {OPTIONS[spelt]} here"
    setting = option.removeprefix("--") if "." in option else SETTINGS.get(spelt)
    return f"that is a setting: --cfg-options {setting}=…" if setting and "--cfg-options" in known else ""
