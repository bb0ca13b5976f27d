# SPDX-License-Identifier: Apache-2.0
"""Display: a live progress line on a terminal, or a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tadrib.ray_jobs.console import decimal, duration
from tadrib.ray_jobs.events import AttemptStarted, Event, Metrics, Note, Step
from tadrib.training.phases import Phase

_SECONDS_BETWEEN_LINES = 10.0  # without a terminal; every tenth of the steps gets a line as well

_REASON = ", because "


class Display:
    """Shows phase, step, loss, speed and remaining time on ``screen``; the line is live inside the context."""

    def __init__(self, screen: TextIO) -> None:
        self.console = Console(file=screen, highlight=False)
        self._doing = Phase("starting")
        self.step: Step | None = None
        self.warnings: list[str] = []
        self._loss: float | None = None
        self._tokens_per_second: float | None = None
        self._phase_began = self._began = time.monotonic()
        self._line_at, self._line_tenths = self._began, 0
        self._spinner = Spinner("dots", style="cyan")
        # output of libraries belongs in the log, not above the line
        self._live = Live(
            get_renderable=self._line,
            console=self.console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the live line from the screen."""
        self._live.stop()

    # --- events

    def show(self, event: Event) -> None:
        """Update the screen for an event."""
        if isinstance(event, Phase):
            self._enter(event)
        elif isinstance(event, Note):
            self.warn(event.text)
        elif isinstance(event, AttemptStarted):
            # progress of the previous attempt no longer counts, neither for the bar nor for an interrupt
            self.step, self._line_tenths = None, 0
            if event.step:
                self.note(f"continuing after step {event.step}")
        elif isinstance(event, Step):
            self.step = event
        elif isinstance(event, Metrics):
            self._loss = event.row.get("loss", self._loss)
            self._tokens_per_second = event.row.get("tokens_per_second", self._tokens_per_second)
        if not self.console.is_terminal and self._line_is_due():
            self._print_words()

    def enter_phase(self, text: str) -> None:
        self._enter(Phase(text))

    def _enter(self, phase: Phase) -> None:
        known, self._doing = self._doing, phase
        if phase.text == known.text:  # only its counts have changed
            return
        self._phase_began, self._line_tenths = time.monotonic(), 0
        if not self.console.is_terminal:
            self._print_words()
            self._line_is_due()  # what has just been said is not

    def note(self, text: str, style: str = "") -> None:
        """Print a permanent line above the live one."""
        self.console.print(Text(text, style=style), soft_wrap=not self.console.is_terminal)

    def warn(self, text: str) -> None:
        """Print a permanent line that ``result.json`` and the report repeat; once, however often it is reported.

        Driver and workers may adjust the same value for different reasons, so reasons are not compared.
        """
        fact = text.partition(_REASON)[0]
        if all(known.partition(_REASON)[0] != fact for known in self.warnings):
            self.warnings.append(text)
            self.note(f"! {text}", style="yellow")

    @property
    def phase(self) -> str:
        return self._doing.text

    @property
    def in_steps(self) -> bool:
        return self.phase == "training" and self.step is not None

    @property
    def _counted(self) -> Step | None:
        """Progress of the current phase; None if it cannot be counted."""
        if self.in_steps:
            return self.step
        doing = self._doing
        return Step(doing.done, doing.planned, 0, doing.seconds) if doing.planned else None

    # --- rendering

    def _line(self) -> Table:
        cells: list[Any] = [self._spinner, Text(self._words(), no_wrap=True, overflow="ellipsis")]
        width = self.console.width - len(cells[1]) - 6  # beside spinner, text and padding
        if (counted := self._counted) is not None and width >= 10:
            bar = ProgressBar(counted.planned, counted.done, width=min(width, 30))
            bar.complete_style = bar.finished_style = "cyan"
            cells.insert(1, bar)
        line = Table.grid(padding=(0, 1))
        line.add_row(*cells)
        return line

    def _words(self) -> str:
        counted = self._counted
        if counted is None:
            return f"{self.phase}{self._uncounted()}"
        share = f"{counted.done}/{counted.planned}"
        parts = [f"{self.phase}  {f'step {share}' if self.in_steps else f'{share} {self._doing.unit}'}"]
        if self.in_steps and self._loss is not None:
            parts.append(f"loss {decimal(self._loss)}")
        if self.in_steps and self._tokens_per_second is not None:
            parts.append(f"{self._tokens_per_second:,.0f} tokens/s")
        if self._doing.unit == "rows":
            parts.append(self._rows_per_second())
        if (left := self._seconds_left()) is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _uncounted(self) -> str:
        """How far what goes on is where its end is not known."""
        if self._doing.done:
            return f"  {self._doing.done:,} {self._doing.unit}  {self._rows_per_second()}"
        seconds = time.monotonic() - self._phase_began
        return f"  {duration(seconds)}" if seconds >= 1 else ""

    def _rows_per_second(self) -> str:
        return f"{self._doing.done / max(self._doing.seconds, 1e-3):,.0f} rows/s"

    def _seconds_left(self) -> float | None:
        counted = self._counted
        # by this attempt's own steps: those before its start took no time now
        if counted is None or counted.done == counted.start:
            return None
        return counted.seconds / (counted.done - counted.start) * (counted.planned - counted.done)

    def _print_words(self) -> None:
        clock = duration(time.monotonic() - self._began)
        self.console.print(f"[{clock}] {self._words()}", markup=False, soft_wrap=True)

    def _line_is_due(self) -> bool:
        counted, now = self._counted, time.monotonic()
        if counted is None:
            counted = Step(0, 1, -1 if self._doing.done else 0)
        if counted.done == counted.start:
            return False
        tenths = 10 * counted.done // max(1, counted.planned)
        if now - self._line_at < _SECONDS_BETWEEN_LINES and tenths == self._line_tenths:
            return False
        self._line_at, self._line_tenths = now, tenths
        return True
