"""Signals that ask a run to stop: noted when they come, answered between two steps, where all of it can be saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """The run ends as it was asked to, all of it saved: 128 + the signal's number, as shells have it (143, 130)."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


class StopSignals:
    """Notes SIGTERM (a scheduler takes the machine back) and SIGINT (Ctrl-C); a SIGINT after that leaves at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.at_once = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signals meanwhile; only Python's main thread can, others leave them as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.note) for number in SIGNALS}
        try:
            yield
        except Stopped:
            if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun sends SIGTERM to those that outlive the first of them
                before[signal.SIGTERM] = signal.SIG_IGN
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.at_once:
            raise Stopped(number)

    @contextmanager
    def answered_at_once(self) -> Iterator[None]:
        """For work that changes nothing to be saved: a signal ends it with `Stopped`, and so does one noted before."""
        self.at_once = True
        try:
            if self.received is not None:
                raise Stopped(self.received)
            yield
        finally:
            self.at_once = False
