"""What a person must know of the Target's inputs and outputs where they are not the Source's, though values agree."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded_model import LoadedModel
from ..records import Signature, TensorSpec
from .batch_sizes import declared_batch

NUMBERED = re.compile(r"output_\d+")


def interface_notes(source: LoadedModel, target: LoadedModel) -> list[str]:
    """Return a note for a batch that became fixed, for each dtype that changed, and for lost or swapped names."""
    sources, targets = source.signature.outputs, target.signature.outputs
    inputs = _dtypes("input", *_matched_inputs(source.signature, target.signature))
    return [*_batch(source, target), *inputs, *_dtypes("output", sources, targets), *_names(sources, targets)]


def _batch(source: LoadedModel, target: LoadedModel) -> list[str]:
    size = declared_batch(target)
    if declared_batch(source) is not None or size is None:
        return []
    inputs = "one input at a time" if size == 1 else f"batches of {size}"
    return [f"the batch became fixed: the Target takes {inputs} only, the Source any number"]


def _matched_inputs(source: Signature, target: Signature) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
    """The Source's inputs and the Target's that are fed with them; none where they do not fit each other."""
    shapes = {spec.name: spec.shape for spec in source.inputs if spec.shape is not None}
    if len(shapes) < len(source.inputs):
        return source.inputs, target.inputs
    mapping = map_inputs(source, shapes, target)
    if isinstance(mapping, Mismatch):
        return (), ()
    sources = {spec.name: spec for spec in source.inputs}
    return [sources[mapped.source] for mapped in mapping], [mapped.target for mapped in mapping]


def _dtypes(noun: str, sources: Sequence[TensorSpec], targets: Sequence[TensorSpec]) -> list[str]:
    return [
        f"{noun} {expected.name!r} is {other.dtype} in the Target and {expected.dtype} in the Source"
        for expected, other in zip(sources, _in_source_order(sources, targets), strict=False)
        if expected.dtype != other.dtype
    ]


def _in_source_order(sources: Sequence[TensorSpec], targets: Sequence[TensorSpec]) -> list[TensorSpec]:
    by_name = {spec.name: spec for spec in targets}
    return [by_name[spec.name] for spec in sources] if {s.name for s in sources} == set(by_name) else list(targets)


def _names(sources: Sequence[TensorSpec], targets: Sequence[TensorSpec]) -> list[str]:
    """A single output cannot be mistaken, and numbers say no more than the order."""
    names, target_names = [spec.name for spec in sources], [spec.name for spec in targets]
    if (
        len(names) < 2
        or names == target_names
        or len(names) != len(target_names)
        or all(map(NUMBERED.fullmatch, names))
    ):
        return []
    if set(names) == set(target_names):
        return [f"the outputs come in another order: {', '.join(target_names)}; the Source's is {', '.join(names)}"]
    pairs = ", ".join(f"{name} is {other}" for name, other in zip(names, target_names, strict=True))
    return [f"the outputs' names are lost: {pairs}"]
