"""Work on every video of a list by several processes; a video that makes its process crash costs no other."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import cv2

from tpn.data.annotations import Record

T = TypeVar("T")


def in_processes(work: Callable[[Record], T], records: Sequence[Record], *, processes: int) -> Iterator[T | str]:
    """work(record) of each record, in order; of one that kills its process, a sentence that says so."""
    done = 0
    while done < len(records):
        pool = start_pool(processes)
        try:
            for problem in pool.map(work, records[done:]):
                yield problem
                done += 1
        except BrokenProcessPool:  # it tells only that one of the records in work was to blame
            for record in itertools.islice(records, done, done + 2 * processes):
                yield alone(work, record)
                done += 1
        finally:
            pool.shutdown(cancel_futures=True)


def alone(work: Callable[[Record], T], record: Record) -> T | str:
    """work(record) in a process of its own."""
    with start_pool(1) as pool:
        try:
            return pool.submit(work, record).result()
        except BrokenProcessPool:
            return f"{record.path} makes the decoder crash; re-encode the file or take it off the list"


def start_pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    return ProcessPoolExecutor(processes, mp_context=context, initializer=start_process)


def start_process() -> None:
    """One thread, since the processes fill the cores; Ctrl-C is for the main process to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """A main process that is killed cannot end its helpers: each notices, and ends itself in the middle of its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
