"""A training on this device: the reference's losses, the CPU's gradients, the same bits again, float16's overflows."""

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from jobs import Job, digest_of

from tests.reference import TRAIN_CASES, relative, train_once
from tpn.engine.distributed import World, data_parallel, gathered, maxima
from tpn.engine.optim import build_optimizer, recognition_losses
from tpn.engine.setup import make_deterministic

SEED = ("--seed", 0, "--deterministic")


def step(spec, build, seeded, device):
    """Losses, and gradients on the CPU, of the optimisation step of a case of the reference."""
    losses, model = train_once(spec, build, seeded, device=device)
    gradients = {name: parameter.grad.cpu() for name, parameter in model.named_parameters()}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("name", TRAIN_CASES)
def test_a_step_has_the_losses_of_the_reference_and_the_gradients_of_the_cpu(name, device, parity, build, seeded):
    """A gradient of float32 is within some 3e-3 of float64's, wherever it is computed (tests/models/test_parity.py)."""
    [spec] = [spec for spec in parity("model.json") if spec["name"] == name]
    losses, gradients = step(spec, build, seeded, device)
    assert losses == pytest.approx({key: spec["log"][key] for key in losses}, rel=1e-4)
    total = torch.stack([gradient.double().norm() for gradient in gradients.values()]).norm().item()
    assert total == pytest.approx(torch.tensor(list(spec["grad_norm"].values())).norm().item(), rel=1e-3)
    _, expected = step(spec, build, seeded, torch.device("cpu"))
    errors = sorted(relative(gradients[key], expected[key]) for key in expected)
    assert errors[len(errors) // 2] <= 5e-3
    assert errors[-1] <= 5e-2


@pytest.mark.parametrize("name", TRAIN_CASES)
def test_a_deterministic_step_of_a_published_network_has_the_same_bits_again(name, device, parity, build, seeded):
    [spec] = [spec for spec in parity("model.json") if spec["name"] == name]
    make_deterministic(True, device)
    try:
        (losses, once), (again, twice) = (step(spec, build, seeded, device) for _ in range(2))
    finally:
        make_deterministic(False, device)
    assert losses == again
    assert [key for key in once if not torch.equal(once[key], twice[key])] == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_deterministic_training_ends_at_the_same_bits_again(dtype, device, tpn, recipe, tmp_path):
    digests = []
    for run in ("once", "again"):
        flags = ["--work-dir", tmp_path / run, "--device", device, "--validate", *SEED, "--dtype", dtype]
        outcome = tpn("train", recipe, *flags)
        assert outcome.code == 0, outcome.err
        digests.append(digest_of(tmp_path / run))
    assert digests[0] == digests[1]


def test_a_killed_training_resumes_to_the_bits_of_an_undisturbed_one(device, recipe, environment, tmp_path):
    def train(folder: str) -> Job:
        command = [sys.executable, "-u", "tools/train.py", recipe, "--work-dir", tmp_path / folder, "--auto-resume"]
        flags = ["--device", device, *SEED, "--cfg-options", "checkpoint_config.every=2", "total_epochs=8"]
        return Job([*map(str, command), *map(str, flags)], environment, mark=str(tmp_path))

    undisturbed = train("undisturbed")
    undisturbed.done()
    job = train("killed")
    job.wait_for(r"Epoch \[3\]", timeout=90)
    os.kill(job.process.pid, 9)
    job.process.wait()
    train("killed").done()
    assert digest_of(tmp_path / "killed") == digest_of(tmp_path / "undisturbed")


def test_a_step_whose_float16_gradient_overflows_is_left_out_and_counted(device, tpn, recipe, tmp_path, monkeypatch):
    """From a scale that is too large the training finds down to one that is not."""
    real = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda kind, **options: real(kind, init_scale=2.0**40, **options))
    flags = ["--device", device, "--dtype", "float16", *SEED, "--cfg-options", "total_epochs=12"]
    outcome = tpn("train", recipe, "--work-dir", tmp_path, *flags)
    assert outcome.code == 0, outcome.err
    checkpoint = torch.load(tmp_path / "epoch_12.pth", weights_only=True)
    overflows = checkpoint["meta"]["overflows"]
    assert overflows > 5
    assert checkpoint["scaler"]["scale"] == 2.0 ** (40 - overflows)
    log = next(tmp_path.glob("*.log")).read_text()
    assert log.count("Too large for float16") == overflows
    assert f"because their gradient was too large for float16: {overflows} steps" in log
    assert checkpoint["meta"]["skipped"] == 0


@pytest.mark.gpu
def test_nccl_with_one_process_averages_and_gathers(build, seeded, parity, monkeypatch, tmp_path):
    spec = parity("model.json")[0]
    model, config = build(spec["config"])
    seeded.fill(model, spec["salt"])
    device = torch.device("cuda", 0)
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("nccl", rank=0, world_size=1, store=store, device_id=device)
    try:
        world = World(rank=0, size=2, device=device)  # so that every collective is really called
        network = data_parallel(model.to(device).train(), world)
        logits, aux_logits = network(torch.randn(2, 3, 8, 64, 64, device=device))
        losses = recognition_losses(logits, aux_logits, torch.tensor([0, 1], device=device), aux_weight=0.5)
        optimizer = build_optimizer(model, config.optimizer)
        losses["loss"].backward()
        optimizer.step()
        assert maxima([1.0, losses["loss"].item()], world)[0] == 1.0
    finally:
        dist.destroy_process_group()
    assert gathered("alone", World(rank=0, size=1, device=device)) == ["alone"]
    assert all(parameter.isfinite().all() for parameter in model.parameters())


LIMITED = """
import sys, torch
from tpn.cli import main
torch.cuda.set_per_process_memory_fraction(0.02)
main(sys.argv[1:])
"""


@pytest.mark.gpu
def test_a_training_that_does_not_fit_names_its_batch_and_leaves_the_checkpoint(tpn, recipe, environment, tmp_path):
    flags = [recipe, "--work-dir", tmp_path, "--seed", 0, "--device", "cuda"]
    assert tpn("train", *flags, "--cfg-options", "total_epochs=1").code == 0
    before = (tmp_path / "epoch_1.pth").read_bytes()
    large = ["data.crop_size=1024", "data.short_side=1024", "data.videos_per_gpu=13"]
    command = [sys.executable, "-c", LIMITED, "train", *flags, "--auto-resume", "--cfg-options", *large]
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "is not enough for a step of 13 clips of 8 x 1024 x 1024 in float32: lower data.videos_per" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "epoch_1.pth").read_bytes() == before
