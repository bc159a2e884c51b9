"""What can go wrong, as one tree.

SafeconvertError
├── BadInput            exit 2: the person can mend it; the message says how
│   └── NotInstalled    a framework is missing; the message is the install command
├── Diverged            a result whose verdict is neither verified nor repaired, where Python code asked for one that is
└── WorkerFailed        a worker process returned no result
    ├── Unchanged       a hop was asked for a form of its model that is the model itself
    ├── CallRaised      the function that it ran raised an exception
    ├── SessionLost     it does not hold what the call names by an id
    └── WorkerDied      it crashed, ran out of time or out of memory, and is gone
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class SafeconvertError(Exception):
    """Base of every error raised on purpose."""


class BadInput(SafeconvertError):
    """The input, an option or the output place cannot be used as given (exit code 2).

    ``mistakes`` are the messages one by one, where it tells several.
    """

    def __init__(self, message: str, mistakes: Sequence[str] = ()) -> None:
        self.mistakes = tuple(mistakes) or (message,)
        super().__init__(message)


def refuse(mistakes: Sequence[str]) -> None:
    """Raise :class:`BadInput` that tells all these mistakes; nothing where there is none.

    It is :class:`NotInstalled` where packages are all that is missing.
    """
    kind = NotInstalled if all(isinstance(mistake, MissingPackage) for mistake in mistakes) else BadInput
    if len(mistakes) == 1:
        raise kind(mistakes[0], mistakes)
    if mistakes:
        listed = "\n".join(f"{number}. {mistake}" for number, mistake in enumerate(mistakes, 1))
        raise kind(f"there are {len(mistakes)} mistakes:\n{listed}", mistakes)


@contextlib.contextmanager
def collecting(mistakes: list[str]) -> Iterator[None]:
    """Add what a block finds wrong to the list, and go on after the block."""
    try:
        yield
    except BadInput as error:
        mistakes += error.mistakes


class MissingPackage(str):
    """The message of a mistake that the installation of a package mends."""

    __slots__ = ()


class NotInstalled(BadInput):
    """A framework that the work needs is not installed."""

    def __init__(self, message: str, mistakes: Sequence[str] = ()) -> None:
        super().__init__(message, [MissingPackage(mistake) for mistake in mistakes or (message,)])


class Diverged(SafeconvertError):
    """No Target agrees with its Source: the verdict is ``diverged``, ``failed`` or ``undecided``.

    ``verdict`` is that word, ``report`` the report as in its JSON file.
    """

    def __init__(self, message: str, verdict: str, report: Mapping[str, Any]) -> None:
        self.verdict, self.report = verdict, report
        super().__init__(message)


class WorkerFailed(SafeconvertError):
    """A worker process returned no result. ``status`` is a hop status of the report."""

    status = "crashed"


class SourceFailed(WorkerFailed):
    """The Source does not answer the person's inputs."""


class Unchanged(WorkerFailed):
    """A hop was asked for a form of its model that is the model itself."""


class CallRaised(WorkerFailed):
    """The function raised inside the worker, which lives on.

    ``kind`` is the exception's class name, ``details`` its traceback as text.
    """

    def __init__(self, kind: str, message: str, details: str) -> None:
        self.kind, self.message, self.details = kind, message, details
        super().__init__(f"{kind}: {message}" if message else kind)


class SessionLost(WorkerFailed):
    """The worker lives and does not hold what a call names by an id: what made it must be done again."""


class WorkerDied(WorkerFailed):
    """The worker is gone; ``status`` says whether it crashed or was stopped for taking too long."""

    def __init__(self, message: str, *, status: str = "crashed", details: str = "") -> None:
        self.status = status
        self.details = details
        super().__init__(message)
