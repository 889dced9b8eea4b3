"""Runs the exported network in ONNX Runtime or OpenVINO, in a Python that has them, on command (worker.py)."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from worker import serve

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.models.recognizer import build_recognizer


def prepare(job):
    clips = np.random.default_rng(0).standard_normal(job["shape"], dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = exported(job, Path(folder))
        if job["engine"] == "OpenVINO":
            network = openvino_network(file, job["threads"], job["precision"], clips)
        else:
            network = onnxruntime_network(file, job["threads"])
    return lambda: network(clips)


def exported(job, folder):
    """The plain network as an .onnx file of the job's shape; PyTorch's exporter folds the norms."""
    config = load_config(find_recipe(job["recipe"]), {"model.backbone.pretrained": None})
    model, file = build_recognizer(config.model).eval(), folder / "network.onnx"
    torch.onnx.export(model, (torch.randn(job["shape"]),), str(file), dynamo=True, verbose=False)
    return file


def onnxruntime_network(file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda clips: session.run(None, {name: clips})


def openvino_network(file, threads, precision, clips):
    """In float32 or bfloat16, as asked; in int8 what NNCF quantises, the rest in float32. Its speed, not its scores."""
    import openvino

    model = openvino.Core().read_model(str(file))
    if precision == "int8":
        import nncf

        model = nncf.quantize(model, nncf.Dataset([clips]), subset_size=1)
    hint = "bf16" if precision == "bfloat16" else "f32"
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda clips: compiled([clips])


if __name__ == "__main__":
    serve(prepare)
