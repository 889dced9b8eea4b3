"""Progress of a long loop: a live bar on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

BAR_WIDTH = 20
SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Counts what a loop has done, and shows it once the loop has taken `delay` seconds.

        with ProgressBar(len(videos), console=console, description="test") as bar:
            for video in videos:
                ...
                bar.advance()

    On a terminal the bar is live and lines printed through the same console appear above it; elsewhere there is a line
    at most every 10 s. Both end with a line in MMAction2's words. A `transient` bar, for loops whose log lines say the
    same, lives on a terminal only and leaves nothing behind. Only one bar may be live on a console at a time.
    """

    def __init__(
        self,
        total: int,
        *,
        console: Console,
        description: str = "",
        unit: str = "task",
        delay: float = 2.0,
        transient: bool = False,
        enabled: bool = True,
    ) -> None:
        self.total, self.console, self.unit, self.delay = total, console, unit, delay
        self.has_bar = enabled and console.is_terminal
        self.has_lines = enabled and not transient
        self.completed = 0
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(unit),
            TimeRemainingColumn(),
        ]
        self.live = Progress(*columns, console=console, transient=True)
        self.task = self.live.add_task(description, total=total)

    def __enter__(self) -> Self:
        self.start_time = self.last_line_time = time.monotonic()
        self.advance(0)
        return self

    def advance(self, count: int = 1) -> None:
        self.completed += count
        now = time.monotonic()
        if self.has_bar:
            self.live.update(self.task, completed=self.completed)
            if now - self.start_time >= self.delay and not self.live.live.is_started:
                self.live.start()
        elif self.has_lines and now - self.last_line_time >= SECONDS_BETWEEN_LINES and self.completed < self.total:
            self.last_line_time = now
            self.print_line()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live.live.is_started:
            self.live.stop()
        if self.has_lines and time.monotonic() - self.start_time >= self.delay:
            self.print_line()

    def print_line(self) -> None:
        elapsed = time.monotonic() - self.start_time
        print_line(progress_line(self.completed, self.total, elapsed, self.unit), self.console)


def progress_line(completed: int, total: int, elapsed: float, unit: str = "task") -> str:
    """MMAction2's line: `[>>>>] 19796/19796, 2.4 task/s, elapsed: 8248s, ETA:     0s`. elapsed in seconds."""
    marks = ">" * (BAR_WIDTH * completed // max(total, 1))
    rate = completed / elapsed if elapsed else 0.0
    eta = elapsed * (total - completed) / completed if completed else 0.0
    return f"[{marks:{BAR_WIDTH}}] {completed}/{total}, {rate:.1f} {unit}/s, elapsed: {elapsed:.0f}s, ETA: {eta:5.0f}s"


def print_line(line: str, console: Console) -> None:
    """Print on the console: above its live bar on a terminal, byte for byte and at once elsewhere."""
    if console.is_terminal:
        console.out(line, highlight=False)
    else:
        console.file.write(line + "\n")
        console.file.flush()


class Rate(ProgressColumn):
    """Tasks per second, of late."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else "", style="progress.data.speed")
