"""Run many conversions: those that are done already are left, and those whose worker was lost are taken again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..options import Observer
from .backends import Backend
from .plan import Conversion
from .state import StateFolder, key_of
from .task import lost_record, run_conversion

MAX_ROUNDS = 3  # times that a conversion is begun whose worker is lost
POLL_SECONDS = 0.5


def run_conversions(
    conversions: Sequence[Conversion], backend: Backend, state_path: Path, observer: Observer
) -> list[dict[str, Any]]:
    """Return a record of each conversion, in their order; ``is_resumed`` says that an earlier run had done it.

    Raises :class:`BadInput` where outputs stand in the way or the state folder cannot be written.
    """
    digests: dict[Path, str] = {}
    keys = {key_of(conversion, digests): conversion for conversion in conversions}
    state = StateFolder(state_path)
    resumed = {key for key in keys if state.finished(key) is not None}
    _check_outputs([c for key, c in keys.items() if key not in resumed and not state.was_started(key)])
    _make(state_path)
    for key in keys.keys() - resumed:
        state.forget(key)  # of a run without a verdict
    with _progress(state, keys, observer):
        _in_rounds(backend, keys, state)
    records = []
    for key, conversion in keys.items():
        record = state.record(key) or lost_record(conversion, MAX_ROUNDS)
        records.append({"key": key, **record, "is_resumed": key in resumed})
    return records


def _in_rounds(backend: Backend, keys: Mapping[str, Conversion], state: StateFolder) -> None:
    """Run what has no record, again where a worker is lost: a backend then ends the round with an error of its own."""
    for round_number in range(1, MAX_ROUNDS + 1):
        tasks = [(conversion, key, state) for key, conversion in keys.items() if state.record(key) is None]
        if not tasks:
            return
        try:
            backend.run(run_conversion, tasks)
        except Exception as error:
            if round_number == 1 and not (state.path / "log.jsonl").exists():
                raise BadInput(
                    f"--backend {backend.name} ran no task: {type(error).__name__}: {error}. Is the scheduler there, "
                    "and is safeconvert installed where its workers run?"
                ) from error


def _check_outputs(conversions: Sequence[Conversion]) -> None:
    there = [c for c in conversions if c.output.exists() and not c.options.get("force")]
    if there:
        shown = "\n  ".join(str(conversion.output) for conversion in there)
        raise BadInput(f"these outputs exist already; set force = true to replace them:\n  {shown}")


def _make(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path} cannot be made: {error.strerror or error}. Choose another place with -o.") from error


@contextlib.contextmanager
def _progress(state: StateFolder, keys: Mapping[str, Conversion], observer: Observer) -> Iterator[None]:
    """Tell the observer how many are done; records tell it, whatever backend there is."""
    is_over = threading.Event()

    def watch() -> None:
        while True:
            done = sum((state.path / f"{key}.json").exists() for key in keys)
            observer.progress("converting", done, len(keys))
            if is_over.wait(POLL_SECONDS):
                return

    thread = threading.Thread(target=watch, daemon=True, name="batch-progress")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
