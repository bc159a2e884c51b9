"""What a person should know of a run besides its verdict, each note a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ..checking.interface_notes import interface_notes
from ..checking.tvm_check import RuntimeComparison
from ..formats import ModelFile
from ..models.loaded_model import LoadedModel
from ..options import Options
from ..records import Verdict
from .outcome import RunOutcome


def run_notes(
    outcome: RunOutcome,
    source: LoadedModel,
    options: Options,
    notes_on_the_way: Sequence[str],
    opinions: Sequence[RuntimeComparison],
) -> list[str]:
    """Return all notes of a run: those of its inputs, its models, its steps and of the second engine."""
    target = outcome.target
    notes = [*outcome.notes, *outcome.evaluation_set.notes, *source.signature.notes, *source.notes]
    if target is not None:
        notes += [*target.notes, *interface_notes(source, target), *_fixed_sizes(source, target)]
    notes += notes_on_the_way
    if target is not None and outcome.quantization is None:
        notes += _too_large(target, options)
    if target is not None and outcome.judgement.verdict is not Verdict.REPAIRED:
        notes += _unquantised(target, options)
    return notes + [opinion.words for opinion in opinions if opinion.agrees is not True]


def origin_notes(source: ModelFile) -> list[str]:
    """A note where the Source came from Python code and its file is gone when the run is over."""
    return (
        [f"the Source is a {source.origin} that Python code gave; it was saved for this run"] if source.origin else []
    )


def _fixed_sizes(source: LoadedModel, target: LoadedModel) -> list[str]:
    """A note where sizes that the Source leaves open are fixed in the Target."""
    fixed = [spec for spec in target.signature.inputs if spec.shape is not None]
    open_sizes = [spec for spec in source.signature.inputs if spec.shape and None in spec.shape[1:]]
    if open_sizes and fixed and not any(None in (spec.shape or ())[1:] for spec in fixed):
        return [f"the Source takes other sizes too ({open_sizes[0]}); the Target takes only {fixed[0]}"]
    return []


def _too_large(target: LoadedModel, options: Options) -> list[str]:
    """A note where the Target, which needed nothing more in float32, is larger than was asked for all the same."""
    if options.max_size is None or not target.path.is_file():
        return []
    size = target.path.stat().st_size / 1e6
    if size <= options.max_size:
        return []
    return [f"the Target takes {size:.2f} MB, more than --max-size {options.max_size:g}, with no weight restored"]


def _unquantised(target: LoadedModel, options: Options) -> list[str]:
    """A note where TFLiteConverter found nothing to quantise."""
    if options.quantize != "dynamic" or target.signature.quantized:
        return []
    return ["--quantize dynamic: nothing is quantised: TFLiteConverter leaves weights below 1024 elements as they are"]
