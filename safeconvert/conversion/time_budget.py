"""The time that a run may spend on repair: looking for faults, and running converters on other forms."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType


class RepairTime:
    """A budget of ``seconds`` in all. It runs inside of ``with budget.running()``, which does not nest.

    Ctrl-C while it runs ends it: the run goes on with the best state so far; a second Ctrl-C ends the run.
    ``cut`` says why repair ended before everything was tried, or is empty.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.cut = seconds, ""
        self._spent = 0.0
        self._since: float | None = None
        self._interrupted = False

    @property
    def left(self) -> float:
        """Return the seconds left; 0 where it was interrupted."""
        now = 0.0 if self._since is None else time.monotonic() - self._since
        return 0.0 if self._interrupted else max(0.0, self.seconds - self._spent - now)

    def allows(self) -> bool:
        """May another attempt be made? Ask only where there is one to make: ``cut`` remembers a no."""
        if self.left:
            return True
        if self._interrupted:
            self.cut = "Ctrl-C ended the search for a repair before everything was tried"
        else:
            self.cut = f"the time for repair, {self.seconds:g} s (--repair-time), was over before everything was tried"
        return False

    def limit(self, timeout: float) -> float:
        """Return the timeout of a call that may be part of repair: no longer than the time left."""
        return timeout if self._since is None or self._interrupted else min(timeout, max(self.left, 0.01))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._since = time.monotonic()
        first = not self._interrupted and threading.current_thread() is threading.main_thread()
        handled = first and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if handled:
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            if handled:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            self._spent += time.monotonic() - self._since
            self._since = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(2, b"\nthe search for a repair ends after this step; Ctrl-C again ends the run\n")
