"""Typed handles for functions that run in a worker: mypy checks arguments and answer across the process border.

A handle names its function by module and name, since the parent must not import the module (it loads a framework).
``signature`` tells mypy the types only; it is never called::

    if TYPE_CHECKING:
        from ..repair.localization import locate

    LOCATE = remote("repair.localization.locate", "locate", lambda: locate.locate)
    result = LOCATE(worker, 60.0, source="source.onnx", ...)  # a LocateResult, as mypy knows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from .pool import Worker

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Remote(Generic[Arguments, Answer]):
    """A function of a worker module, such as ``runtimes.registry``. Arguments are passed by name only."""

    module: str
    function: str

    def __call__(
        self, worker: Worker, timeout: float | None, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        """Run the function in ``worker`` and return its answer; ``timeout`` is in seconds, None waits for ever.

        Raises :class:`CallRaised` where the function raises, :class:`WorkerDied` where the process ends or the time
        is over, and TypeError for arguments that are passed by position.
        """
        if args:
            raise TypeError(f"{self.module}.{self.function} got {len(args)} arguments by position: pass them by name")
        return cast(Answer, worker.call(self.module, self.function, timeout=timeout, **kwargs))


def remote(
    module: str, function: str, signature: Callable[[], Callable[Arguments, Answer]]
) -> Remote[Arguments, Answer]:
    """The handle of ``module.function``; ``signature`` returns the function, for its type alone (see above)."""
    return Remote(module, function)
