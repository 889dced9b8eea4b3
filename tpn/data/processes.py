"""Work on every video of a list by several processes; a video that makes its process crash costs no other.

Each process has a pipe of its own and ends by a signal. A ProcessPoolExecutor would do but for Ctrl-C: one that is
interrupted as it starts its processes never starts the thread that ends them, and at exit Python waits for them.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Generic, NoReturn, TypeVar

import cv2

from tpn.data.annotations import Record

T = TypeVar("T")
FATAL_CRASHES = 2  # of processes that had the same video in work: the first may have been an accident
GRACE = 2.0  # seconds that a process has to tidy up before it is killed


def in_processes(work: Callable[[Record], T], records: Sequence[Record], *, processes: int) -> Generator[T | str]:
    """work(record) of each record, in order; of one that kills its process, a sentence that says so.

    An exception of `work` is raised here. However this iterator ends, its processes end within seconds, in the middle
    of their work; who may be interrupted between two results closes it (contextlib.closing).
    """
    pool = Pool(work, records, processes)
    try:
        pool.start()
        for index in range(len(records)):
            while index not in pool.results:
                pool.go_on()
            yield pool.results.pop(index)
    finally:
        with interrupts_put_off():
            pool.end()


class Pool(Generic[T]):
    """Processes, the records that are left for them, and the results that have come, by index."""

    def __init__(self, work: Callable[[Record], T], records: Sequence[Record], processes: int) -> None:
        self.work, self.records, self.processes = work, records, processes
        self.left = deque(range(len(records)))
        self.results: dict[int, T | str] = {}
        self.idle: list[PoolWorker] = []
        self.busy: dict[Connection, PoolWorker] = {}
        self.crashes: Counter[int] = Counter()

    def start(self) -> None:
        """Give every process something to do, as long as there is something."""
        while self.left and len(self.busy) < self.processes:
            with interrupts_put_off():
                worker = self.idle.pop() if self.idle else PoolWorker(self.work)
                self.busy[worker.pipe] = worker
            worker.begin(index := self.left.popleft(), self.records[index])

    def go_on(self) -> None:
        """Wait for at least one process to have done its work, and give it more."""
        for pipe in wait([*self.busy]):
            with interrupts_put_off():
                worker = self.busy.pop(pipe)  # pyright: ignore[reportArgumentType]
                self.idle.append(worker)
            self.take(worker)
        self.start()

    def take(self, worker: "PoolWorker") -> None:
        """Note what a process has to say: its result, an error that ends everything, or nothing, as it is dead."""
        index = worker.index
        try:
            result, error = worker.pipe.recv()
        except (EOFError, OSError):
            self.idle.remove(worker)
            worker.pipe.close()
            self.blame(index)
            return
        if error is not None:
            raise error
        self.results[index] = result

    def blame(self, index: int) -> None:
        """A process has died of a record: it is tried once more."""
        self.crashes[index] += 1
        if self.crashes[index] < FATAL_CRASHES:
            self.left.appendleft(index)
        else:
            path = self.records[index].path
            self.results[index] = f"{path} makes the decoder crash; re-encode the file or take it off the list"

    def end(self) -> None:
        """End all processes: they have a moment to remove what they were writing, then they are killed."""
        processes = [worker.process for worker in (*self.idle, *self.busy.values())]
        for process in processes:
            process.terminate()
        end = time.monotonic() + GRACE
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()
            process.join()


class PoolWorker:
    """A process that works on one record after the other, and the end of its pipe that this one holds."""

    def __init__(self, work: Callable[[Record], object]) -> None:
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends with the process
        self.index = -1

    def begin(self, index: int, record: Record) -> None:
        self.index = index
        with suppress(OSError):  # it is dead: the pipe will say so
            self.pipe.send(record)


@contextmanager
def interrupts_put_off() -> Iterator[None]:
    """Have Ctrl-C wait until this is done, here and in a process that is started meanwhile.

    One that comes while a process is started is lost if a hook of the fork is running, or leaves a process that nobody
    knows.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGINT)


# ------------------------------------------------------------------------------------------- inside of the processes


def serve(pipe: Connection, work: Callable[[Record], object]) -> NoReturn:
    """One thread, since the processes fill the cores; Ctrl-C is for the main process to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # `finally` removes half-written files
    cv2.setNumThreads(0)
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        record = pipe.recv()
        try:
            answer = (work(record), None)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = (None, error)
        pipe.send(answer)


def end_with_parent() -> None:
    """A main process that is killed cannot end its workers: each notices, and ends itself in the middle of its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
