"""The parent's side of a localization session: the faults of a Target, located again where the worker lost them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import SessionLost, WorkerDied, WorkerFailed
from ..runtimes.trace_store import TraceRecord
from ..workers.pool import Worker, WorkerPool
from . import remote_functions
from .localization.finding import (
    AffineChange,
    Array,
    ConstantChange,
    FaultSummary,
    LocateResult,
    Segment,
    SettingChange,
)
from .statistics.ranking_values import AlignedLayers

if TYPE_CHECKING:
    from .alignment.runtime_difference import RuntimeDifference

Answer = TypeVar("Answer")


class LocatedTarget:
    """The located faults of a Target, and what the worker that located them can tell and write of them.

    The worker may die at any time, or drop the session for newer ones (``MAX_SESSIONS_HELD``). Then the same faults
    are located again, once for each request, and the request is made again. Faults are named by their index in
    ``result.faults``. Every method raises :class:`WorkerFailed` where the worker fails a second time, or where the
    faults are not the same as before.
    """

    def __init__(self, workers: WorkerPool, locate: Callable[[Worker], LocateResult]) -> None:
        """``locate`` runs ``remote_functions.LOCATE`` in a worker; it is kept, to be run again."""
        self._workers, self._locate = workers, locate
        self._first = self.result = locate(self._worker())
        self._dismissed: list[tuple[int, ...]] = []

    @property
    def faults(self) -> tuple[FaultSummary, ...]:
        return self.result.faults

    def _worker(self) -> Worker:
        return self._workers.worker("onnx_tflite", "onnx_tflite")

    def ask(self, request: Callable[[Worker, str], Answer]) -> Answer:
        """Make a request of the worker, which gets the session's id; where the session is lost, locate again first."""
        try:
            return request(self._worker(), self.result.session_id)
        except (SessionLost, WorkerDied):
            self._locate_again()
            return request(self._worker(), self.result.session_id)

    def _locate_again(self) -> None:
        again = self._locate(self._worker())
        if _identities(again.faults) != _identities(self._first.faults):
            raise WorkerFailed(
                f"the worker lost the faults of the Target, and locating them again gave others: "
                f"{len(again.faults)} instead of {len(self._first.faults)}. Run again."
            )
        for indices in self._dismissed:
            remote_functions.DISMISS(self._worker(), None, session_id=again.session_id, indices=indices)
        self.result = dataclasses.replace(self.result, session_id=again.session_id)

    def dismiss(self, indices: Sequence[int]) -> None:
        """Remove these from the faults, since they are none; the others move up."""
        dismissed = tuple(indices)
        self.ask(lambda worker, session: remote_functions.DISMISS(worker, None, session_id=session, indices=dismissed))
        self._dismissed.append(dismissed)
        left = tuple(fault for index, fault in enumerate(self.faults) if index not in dismissed)
        self.result = dataclasses.replace(self.result, faults=left)

    def write(self, path: Path, chosen: Sequence[int]) -> None:
        """Write the Target's view to ``path`` with the repairs of the ``chosen`` faults."""
        self.ask(
            lambda worker, session: remote_functions.WRITE_REPAIRED(
                worker, None, session_id=session, path=str(path), chosen=list(chosen)
            )
        )

    def native_records(
        self, role: str, store: str, records: Sequence[TraceRecord], tensors: Sequence[str] | None
    ) -> tuple[int | None, ...]:
        """For each fault (or tensor of the view), the index of the native record that holds the same; None: none does.

        ``role`` is "source" or "target"; ``store`` and ``records`` are that model's trace.
        """
        return self.ask(
            lambda worker, session: remote_functions.NATIVE_RECORDS(
                worker, None, session_id=session, role=role, store=store, records=records, tensors=tensors
            )
        )

    def constants_set(self, chosen: Sequence[int]) -> tuple[ConstantChange, ...] | None:
        """The floating-point constants that the repairs of these faults set; None where they change anything else."""
        return self.ask(
            lambda worker, session: remote_functions.CONSTANTS_SET(
                worker, None, session_id=session, chosen=list(chosen)
            )
        )

    def settings_set(self, index: int) -> tuple[SettingChange, ...] | None:
        """The settings that the repair of a fault sets, by ONNX's names; None where it changes anything else."""
        return self.ask(
            lambda worker, session: remote_functions.SETTINGS_SET(worker, None, session_id=session, index=index)
        )

    def affine_changes(self, chosen: Sequence[int]) -> tuple[AffineChange, ...] | None:
        """The convolutions that the repairs of these faults change; None where a repair changes anything else."""
        return self.ask(
            lambda worker, session: remote_functions.AFFINE_CHANGES(
                worker, None, session_id=session, chosen=list(chosen)
            )
        )

    def aligned_layers(self, source: Path, core: Sequence[str] | None) -> AlignedLayers:
        """The layers of the Target that can be ranked; ``core`` are operator types (None: those with weights)."""
        return self.ask(
            lambda worker, session: remote_functions.ALIGN_LAYERS(
                worker, None, session_id=session, source=str(source), core=None if core is None else list(core)
            )
        )

    def write_segment(self, index: int, path: Path) -> Segment | None:
        """Write the Target's nodes of a fault as a model of their own; None where they do not run alone."""
        return self.ask(
            lambda worker, session: remote_functions.WRITE_SEGMENT(
                worker, None, session_id=session, index=index, path=str(path)
            )
        )

    def exempt(
        self, index: int, path: Path, arrays: Mapping[str, Array], tvm_output: Array
    ) -> RuntimeDifference | None:
        """The difference between runtimes that explains a fault, where one does; see ``runtime_exemptions.exempt``."""
        return self.ask(
            lambda worker, session: remote_functions.EXEMPT(
                worker, None, session_id=session, index=index, path=str(path), arrays=arrays, tvm_output=tvm_output
            )
        )


def _identities(faults: Sequence[FaultSummary]) -> list[tuple[str, str, str, str, str, bool]]:
    """What tells faults from one another; measured numbers, whose last digits may vary, are left out."""
    return [
        (fault.type, fault.target_node, fault.target_tensor, fault.source_node, fault.op_type, fault.is_repairable)
        for fault in faults
    ]
