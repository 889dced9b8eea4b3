"""Progress shows itself when a loop is long, and never floods a log file."""

import io
import re

import pytest
from rich.console import Console

from tpn.engine import progress
from tpn.engine.progress import ProgressBar, progress_line

LINE = r"\[[> ]{20}\] \d+/\d+, \d+\.\d task/s, elapsed: \d+s, ETA: [ \d]{5,}s"


class Clock:
    """Time that passes only when told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def run(console: Console, clock: Clock, num_tasks: int, seconds: float, **options) -> None:
    with ProgressBar(num_tasks, console=console, **options) as bar:
        for _ in range(num_tasks):
            clock.now += seconds
            bar.advance()


def plain_lines(clock: Clock, num_tasks: int, seconds: float, **options) -> list[str]:
    output = io.StringIO()
    run(Console(file=output, width=30), clock, num_tasks, seconds, **options)
    return output.getvalue().splitlines()


def test_line_is_mmaction2s():
    line = progress_line(19796, 19796, elapsed=8248.4)
    assert line == f"[{'>' * 20}] 19796/19796, 2.4 task/s, elapsed: 8248s, ETA:     0s"


def test_line_in_the_middle_estimates_what_remains():
    line = progress_line(50, 200, elapsed=100.0)
    assert line == f"[{'>' * 5}{' ' * 15}] 50/200, 0.5 task/s, elapsed: 100s, ETA:   300s"


@pytest.mark.parametrize(("completed", "total", "elapsed"), [(0, 10, 0.0), (0, 0, 0.0), (0, 0, 3.0), (12, 10, 1.0)])
def test_line_of_an_odd_count_does_not_fail(completed, total, elapsed):
    assert progress_line(completed, total, elapsed).startswith("[")


def test_short_loop_prints_nothing(clock):
    assert plain_lines(clock, num_tasks=3, seconds=0.6) == []


def test_short_loop_whose_line_is_asked_for_prints_it(clock):
    assert len(plain_lines(clock, num_tasks=3, seconds=0.6, delay=0)) == 1


def test_long_loop_prints_at_most_a_line_in_10_seconds_and_one_at_the_end(clock):
    lines = plain_lines(clock, num_tasks=100, seconds=0.37)
    assert [line.split("elapsed: ")[1].split("s")[0] for line in lines] == ["10", "21", "31", "37"]
    assert all(re.fullmatch(LINE, line) for line in lines)
    assert "] 100/100, 2.7 task/s" in lines[-1]


def test_slow_tasks_print_one_line_each_and_the_last_only_once(clock):
    lines = plain_lines(clock, num_tasks=3, seconds=30)
    assert [line.split("] ")[1].split(",")[0] for line in lines] == ["1/3", "2/3", "3/3"]


def test_loop_that_fails_says_how_far_it_came(clock):
    output = io.StringIO()
    with pytest.raises(RuntimeError), ProgressBar(10, console=Console(file=output)) as bar:
        bar.advance(4)
        clock.now += 5
        raise RuntimeError
    assert "] 4/10," in output.getvalue()


@pytest.mark.parametrize("options", [{"transient": True}, {"enabled": False}])
def test_transient_bar_and_other_ranks_print_nothing_into_a_file(clock, options):
    assert plain_lines(clock, num_tasks=5, seconds=60, **options) == []


def test_terminal_shows_a_live_bar_and_then_the_line(clock):
    output = io.StringIO()
    run(Console(file=output, force_terminal=True, width=90), clock, num_tasks=4, seconds=3, description="test")
    assert "test" in output.getvalue()
    assert "━" in output.getvalue()
    assert re.fullmatch(LINE, output.getvalue().splitlines()[-1].split("\x1b[2K")[-1])


def test_terminal_stays_as_it_was_while_the_loop_is_short(clock):
    output = io.StringIO()
    run(Console(file=output, force_terminal=True), clock, num_tasks=3, seconds=0.1)
    assert output.getvalue() == ""
