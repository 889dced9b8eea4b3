"""The worker's half of a benchmark, in whatever Python: prepare what a job asks for, then do it on command."""

import json
import os
import resource
import sys
import time


def serve(prepare):
    """Read a job, a JSON line, and do the work that `prepare(job)` gives once for every further line.

    Each is answered by a JSON line: seconds, and the process's memory in MiB, the most so far (`peak_mib`) and before
    the first run (`first_mib`). Data workers, processes of their own, are not counted.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes where errors go
    work = prepare(json.loads(sys.stdin.readline()))
    first = peak_mib()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "first_mib": first}), file=answers, flush=True)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
