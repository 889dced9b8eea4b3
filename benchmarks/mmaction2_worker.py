"""Runs MMAction2 0.24.1's own TPN in its own Python, on command (worker.py); it knows nothing of tpn: see peers.py."""

from mmaction2_stand_ins import published
from worker import serve

# isort: split
import torch
from mmaction.models import build_model


def prepare(job):
    torch.set_num_threads(job["threads"])
    config = published(job["recipe"])
    model = build_model(config.model)
    clips = torch.randn(job["shape"])
    return trainer(model, clips, config) if job["mode"] == "train" else tester(model, clips)


def tester(model, clips):
    """A forward pass to the scores."""
    model.eval()

    def run():
        with torch.no_grad():
            model(clips, return_loss=False)

    return run


def trainer(model, clips, config):
    """One optimisation step as mmcv's runner does it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True)
    labels = torch.arange(len(clips))[:, None]
    model.train()

    def step():
        losses = model(clips, labels, return_loss=True)
        loss, _ = model._parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer_config.grad_clip.max_norm)
        optimizer.step()

    return step


if __name__ == "__main__":
    serve(prepare)
