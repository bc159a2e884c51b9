"""The options of a run, and the observer that it reports its progress to."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .comparison.comparators import Comparator, Judging, comparator
from .comparison.tolerance import Tolerance
from .errors import BadInput, collecting, refuse
from .inputs.argument_types import type_mistakes
from .inputs.base import split
from .records import OPSETS, OUTPUT_KINDS, QUANTIZATIONS


@dataclass(frozen=True)
class Options:
    """How Source and inputs are read and how they are judged; the fields are the command line's options.

    Raises :class:`BadInput` for values that no run could use.
    """

    images: Path | None = None
    inputs: Path | None = None
    labels: Path | None = None
    preprocess: str | None = None
    target_preprocess: str | None = None
    embed_preprocessing: bool = False
    input_shape: Mapping[str, Sequence[int]] = field(default_factory=dict)
    batch_axis: Mapping[str, int | None] = field(default_factory=dict)
    input_layout: str = "keep"
    model_fn: str | None = None
    trust_pickle: bool = False
    signature: str | None = None
    quantize: str = "none"
    quantizer: str = "auto"
    io_type: str = "float32"
    opset: int | None = None
    holdout: float = 0.5
    max_discrepancy: float | None = None
    comparator: str | Judging = "top1"
    output_kind: Mapping[str, str] = field(default_factory=dict)
    class_axis: Mapping[str, int] = field(default_factory=dict)
    max_error: Mapping[str, float] = field(default_factory=dict)
    own_inputs_only: bool = False
    atol: float | None = None
    rtol: float | None = None
    seed: int = 0
    timeout: float = 600.0
    engine: str = "onnxruntime"
    ranking: str = "replay"
    core_layers: tuple[str, ...] | None = None
    max_size: float | None = None
    max_latency_ratio: float | None = None
    no_repair: bool = False
    repair_time: float = 300.0
    auto_env: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        mistakes = [*self._mistakes_of_inputs(), *self._mistakes_of_numbers(), *self._mistakes_of_choices()]
        with collecting(mistakes):
            split(2, self.holdout, 0)
        with collecting(mistakes):
            _ = self.comparing  # one that cannot be used is refused before anything is done
        refuse(mistakes)

    def _mistakes_of_inputs(self) -> Iterator[str]:
        if self.images is not None and self.inputs is not None:
            yield "--images and --inputs were both given. Give one of them."
        if self.labels is not None and self.images is None:
            yield "--labels names images by their files. Pass --images too."
        if self.target_preprocess is not None and self.images is None:
            yield "--target-preprocess works on --images; ready arrays and probes are not preprocessed."
        if self.preprocess is not None and self.images is None:
            yield "--preprocess works on --images; ready arrays and probes are not preprocessed."
        if self.embed_preprocessing and self.target_preprocess is None:
            yield "--embed-preprocessing builds in what --target-preprocess does. Give both."

    def _mistakes_of_numbers(self) -> Iterator[str]:
        if self.max_discrepancy is not None and not 0 <= self.max_discrepancy <= 100:
            yield f"--max-discrepancy {self.max_discrepancy} is not a percentage from 0 to 100."
        for name in ("atol", "rtol"):
            if (value := getattr(self, name)) is not None and not (value >= 0 and np.isfinite(value)):
                yield f"--{name} {value} is not a finite number of at least 0."
        for name, percent in self.max_error.items():
            if not 0 <= percent <= 100:
                yield f"--max-error {name}:{percent}: {percent} is not a percentage from 0 to 100."
        for name, sizes in self.input_shape.items():
            if not sizes or min(sizes) < 1:
                yield f"--input-shape {name}: {list(sizes)} is not a list of sizes of at least 1."
        if self.opset is not None and self.opset not in OPSETS:
            yield f"--opset {self.opset} is not from {OPSETS[0]} to {OPSETS[-1]}."
        if self.seed < 0:
            yield f"--seed {self.seed} is below 0."
        if not self.timeout > 0:
            yield f"--timeout {self.timeout} is not a number of seconds above 0."
        if not self.repair_time > 0:
            yield f"--repair-time {self.repair_time} is not a number of seconds above 0."
        if self.max_size is not None and not (self.max_size > 0 and np.isfinite(self.max_size)):
            yield f"--max-size {self.max_size:g} is not a number of megabytes above 0."
        ratio = self.max_latency_ratio
        if ratio is not None and not (ratio > 0 and np.isfinite(ratio)):
            yield f"--max-latency-ratio {ratio:g} is not a number above 0."

    def _mistakes_of_choices(self) -> Iterator[str]:
        for name, kind in self.output_kind.items():
            if kind not in OUTPUT_KINDS:
                yield f"--output-kind {name}:{kind}: {kind!r} is not one of {', '.join(OUTPUT_KINDS)}."
        if self.model_fn is not None and ":" not in self.model_fn:
            yield f"--model-fn {self.model_fn} is not of the form package.module:function."
        for name, known in (
            ("input_layout", ("keep", "nchw", "nhwc")),
            ("quantize", ("none", *QUANTIZATIONS)),
            ("quantizer", ("auto", "litert-quantizer", "tflite-converter")),
            ("io_type", ("float32", "int8", "uint8")),
            ("engine", ("onnxruntime", "tvm")),
            ("ranking", ("replay", "kruskal")),
        ):
            if getattr(self, name) not in known:
                yield f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}."
        if self.core_layers is not None and not self.core_layers:
            yield "--core-layers names no operator type. Give some, such as Conv,Gemm."
        if self.core_layers is not None and self.ranking != "kruskal":
            yield "--core-layers names the operator types that --ranking kruskal ranks. Give both."

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Options:
        """Return the options of these keyword arguments.

        Raises TypeError for an unknown one, and :class:`BadInput` for values that no run could use.

        Paths may be strings, and ``input_shape`` may be the sizes alone for a model with one input.
        """
        unknown = sorted(set(keywords) - set(cls.__dataclass_fields__))
        if unknown:
            raise TypeError(f"unknown option {unknown[0]!r}; known: {', '.join(cls.__dataclass_fields__)}")
        chosen = dict(keywords)
        for name in ("images", "inputs", "labels"):
            if isinstance(chosen.get(name), str):
                chosen[name] = Path(chosen[name])
        shape = chosen.get("input_shape")
        if isinstance(shape, Sequence) and not isinstance(shape, str):
            chosen["input_shape"] = {"": tuple(shape)}
        hints = typing.get_type_hints(cls, localns={"Path": Path})
        mistakes = type_mistakes(chosen, hints)
        with collecting(messages := list(mistakes.values())):
            options = cls(**{name: value for name, value in chosen.items() if name not in mistakes})
        refuse(messages)
        return options

    def arguments(self) -> list[str]:
        """Return the command line's words for these options, without those that are the default."""
        words: list[str] = []
        for option in fields(self):
            value, name = getattr(self, option.name), "--" + option.name.replace("_", "-")
            if option.name == "input_shape":
                for key, shape in value.items():
                    words += [name, f"{key}:{','.join(map(str, shape))}".lstrip(":")]
            elif option.name in ("output_kind", "class_axis", "max_error"):
                for key, setting in value.items():
                    words += [name, f"{key}:{setting}"]
            elif option.name == "batch_axis":
                for key, axis in value.items():
                    words += [name, f"{key}:{'none' if axis is None else axis}".lstrip(":")]
            elif value is True:
                words.append(name)
            elif option.name == "comparator":
                shown = self.comparing.name  # a function that cannot be imported has no name to give
                words += [name, shown] if value != option.default and " " not in shown else []
            elif isinstance(value, tuple):
                words += [name, ",".join(value)]
            elif value != option.default:
                words += [name, str(value)]
        return words

    def check_output_names(self, names: Sequence[str]) -> None:
        """Raises :class:`BadInput` where an option names an output that the Source does not have."""
        for option, chosen in (
            ("--output-kind", self.output_kind), ("--class-axis", self.class_axis), ("--max-error", self.max_error)
        ):  # fmt: skip
            for name in chosen:
                if names and name not in names:
                    raise BadInput(f"{option} names the output {name!r}; the Source's outputs are {', '.join(names)}.")

    @cached_property
    def comparing(self) -> Comparator:
        """The comparator: what makes an input differ."""
        return comparator(self.comparator)

    @property
    def allowed_discrepancy(self) -> float:
        """The share of inputs whose label may differ, in percent; 0 where the person set none."""
        return self.max_discrepancy or 0.0

    @property
    def tolerance(self) -> Tolerance:
        default = Tolerance()
        if self.atol is None and self.rtol is None:
            return default
        atol = default.atol if self.atol is None else self.atol
        rtol = default.rtol if self.rtol is None else self.rtol
        return Tolerance(atol, rtol, "--atol, --rtol", has_atol=self.atol is not None)


class Observer(Protocol):
    """Is told what a run does; the command line shows it."""

    def say(self, what: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def say(self, what: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass
