"""Batches on the device that computes: on CUDA the next one is copied there while it is at work on this one."""

from collections.abc import Iterator

import torch

from tpn.data.workers import Batch


def one_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches, their pixels and labels on the device; the rest is read on the CPU.

    On CUDA a batch is asked for one step early, and copied on a stream of its own: from the pinned memory that the
    loader puts it into, a copy and a kernel run at the same time if they are on two streams, and never on one.
    """
    if device.type != "cuda":
        for batch in batches:
            yield moved(batch, device)
        return
    stream, coming = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            following = moved(batch, device), stream.record_event()
        if coming is not None:
            yield arrived(*coming)
        coming = following
    if coming is not None:
        yield arrived(*coming)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch with pixels and labels on the device, or on their way."""
    return batch._replace(
        views=batch.views.to(device, non_blocking=True), label=batch.label.to(device, non_blocking=True)
    )


def arrived(batch: Batch, copied: torch.Event) -> Batch:
    """The batch for the stream that computes, which waits until it is copied; its memory is not given away before."""
    computing = torch.cuda.current_stream(batch.views.device)
    computing.wait_event(copied)
    for tensor in (batch.views, batch.label):
        tensor.record_stream(computing)
    return batch
