"""The values that travel between the steps of a run. All frozen; nothing here does anything."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OUTPUT_KINDS = ("labels", "map", "boxes", "values", "ids")  # see comparison/output_kinds.py
OPSETS = range(7, 27)  # of ONNX, that can be written
QUANTIZATIONS = ("float16", "weights", "dynamic", "int8", "int16x8")  # see runtimes/litert/quantization_plan.py

Setting = bool | int | float | str | Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str]
"""What a framework sets of a layer or operator: a number, a word, or a list of these."""
Settings = dict[str, Setting]  # by the framework's own names


@dataclass(frozen=True)
class StoredIntegers:
    """How a file stores the real numbers of an input or output: ``real = (integer - zero_point) * scale``."""

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    ``shape`` has the batch first; ``None`` is a dynamic size, and a shape of ``None`` is unknown, as the
    inputs of a TorchScript file are. ``dtype`` is numpy's name, such as ``float32``. ``stored`` says which integers
    an application fills or reads where the file stores real numbers so; safeconvert itself feeds and reads real ones.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    stored: StoredIntegers | None = field(default=None, compare=False)

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else "x".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"

    def to_json(self) -> dict[str, Any]:
        shape = None if self.shape is None else list(self.shape)
        described: dict[str, Any] = {"name": self.name, "shape": shape, "dtype": self.dtype}
        return described if self.stored is None else {**described, "stored": asdict(self.stored)}


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, read from the model itself in its own framework.

    ``quantized``: holds integer weights or tensors, so its values are not those of its float origin.
    ``quantized_outputs`` says so of each output, by the tensors that lead to it; empty where only the whole is known.
    ``notes``: what a person should know, such as "runs one input at a time".
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantized: bool = False
    notes: tuple[str, ...] = ()
    quantized_outputs: tuple[bool, ...] = ()


@dataclass(frozen=True)
class LoadOptions:
    """What a file leaves open about its model, as a person's options say it; each runtime reads what concerns it.

    ``input_shapes``: sizes by input name ("" for the only input), batch first, for torch files that do not say.
    ``model_fn`` is ``package.module:function`` and builds the architecture of a state dict; ``import_folder`` is a
    folder to import it, or a pickled module's code, from. ``is_trusted`` lets the file's own code run while it is
    read. ``signature`` names one of a SavedModel's signatures.
    """

    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    model_fn: str | None = None
    import_folder: str | None = None
    is_trusted: bool = False
    signature: str | None = None


NO_LOAD_OPTIONS = LoadOptions()


@dataclass(frozen=True)
class Attempt:
    """One run of one hop: an entry of the report's ``route``.

    ``fails_on``: of a converter that crashed, nodes that it does not convert alone either (see ``reproduce``).
    """

    hop: str
    converter: str
    version: str
    status: str
    seconds: float
    message: str = ""
    form: str = ""
    used: bool = False
    fails_on: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "hop": self.hop,
            "converter": self.converter,
            "version": self.version,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "message": self.message,
            "form": self.form,
            "used": self.used,
            **({"fails_on": [dict(node) for node in self.fails_on]} if self.fails_on else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A located difference that changes the output: an entry of the report's ``faults``, which gives it its id.

    ``type`` is one of the six codes; ``evidence`` what was seen at the node itself; ``status`` ``repaired`` or
    ``unrepaired``; ``repair`` what was done, in words; the percentages are discrepancies, None where not measured.
    ``reproduce`` is how to see the fault outside of this run, empty where there is no way.
    """

    type: str
    hop: str
    source_node: str
    target_node: str
    evidence: Mapping[str, Any]
    status: str
    percent_before: float | None
    percent_after: float | None
    repair: str
    reproduce: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, id: str) -> dict[str, Any]:
        entry = {
            "id": id,
            "type": self.type,
            "hop": self.hop,
            "source_node": self.source_node,
            "target_node": self.target_node,
            "evidence": dict(self.evidence),
            "status": self.status,
            "percent_before": self.percent_before,
            "percent_after": self.percent_after,
            "repair": self.repair,
        }
        return entry | ({"reproduce": dict(self.reproduce)} if self.reproduce else {})


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A fault as it was found, before the final check tells what became of it.

    ``is_repaired`` is None where that is decided by the verdict. ``percent_before`` is the discrepancy in percent with
    this fault, None where it was not measured. ``repair`` says in words what was done.
    """

    type: str
    hop: str
    source_node: str
    target_node: str
    evidence: Mapping[str, Any]
    repair: str
    percent_before: float | None = None
    is_repaired: bool | None = None

    def as_fault(
        self, *, is_good: bool, percent_after: float | None, reproduce: Mapping[str, Any], target_node: str = ""
    ) -> Fault:
        """Return the report's entry. ``is_good``: the Target was verified or repaired in the end.

        ``target_node`` is another name for the Target's node, where it has one.
        """
        is_repaired = is_good if self.is_repaired is None else self.is_repaired
        return Fault(
            type=self.type,
            hop=self.hop,
            source_node=self.source_node,
            target_node=target_node or self.target_node,
            evidence=self.evidence,
            status="repaired" if is_repaired else "unrepaired",
            percent_before=self.percent_before,
            percent_after=percent_after,
            repair=self.repair,
            reproduce=reproduce,
        )


@dataclass(frozen=True)
class Refusal:
    """A difference that was looked at and is no fault."""

    type: str
    target_node: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "target_node": self.target_node, "reason": self.reason}


@dataclass(frozen=True)
class LayerError:
    """How far a layer's output is off on the Source's own activations, in multiples of the tolerance.

    ``score_after`` is the same after the repair, None where nothing was repaired or it was not measured.
    """

    source_node: str
    operator: str
    score: float
    score_after: float | None = None

    def to_json(self) -> dict[str, Any]:
        entry = {"source_node": self.source_node, "operator": self.operator, "before": self.score}
        return entry if self.score_after is None else {**entry, "after": self.score_after}


@dataclass(frozen=True)
class Localisation:
    """How faults were looked for. ``ranking``: Source node, Target node and score, most suspicious first.

    ``layers`` are the errors of all nodes that a converter was tried on alone, in the graph's order.
    """

    method: str
    engine: str
    model_runs: int
    ranking: tuple[tuple[str, str, float], ...]
    layers: tuple[LayerError, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "engine": self.engine,
            "model_runs": self.model_runs,
            "ranking": [{"source_node": s, "target_node": t, "score": score} for s, t, score in self.ranking],
            **({"layers": [layer.to_json() for layer in self.layers]} if self.layers else {}),
        }


class Verdict(enum.StrEnum):
    """The outcome of a run, equal to its word. It has no truth value on purpose: compare it, do not test it."""

    VERIFIED = "verified"
    REPAIRED = "repaired"
    DIVERGED = "diverged"
    FAILED = "failed"
    UNDECIDED = "undecided"

    def __bool__(self) -> bool:
        raise TypeError("a verdict has no truth value: compare it with Verdict.VERIFIED or use .exit_code")

    @property
    def exit_code(self) -> int:
        return {"verified": 0, "repaired": 0, "diverged": 1, "failed": 3, "undecided": 4}[self.value]
