"""The front door: :func:`convert` and :func:`check`, of which the command line is a thin caller."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from safeconvert import publish
from safeconvert.children import Workshop
from safeconvert.compare import Comparison, Tolerance, compare, impossible
from safeconvert.errors import BadInput, CallRaised, ChildFailed
from safeconvert.feeding import Feed, Mismatch, feed, layout_of, match_outputs, plan_feed
from safeconvert.inputs import ImageInputs, Inputs, ProbeInputs, TensorInputs, split
from safeconvert.model import Attempt, Recognised, Signature, TensorSpec, Verdict
from safeconvert.preprocess import Preprocess, contract, load_preprocess
from safeconvert.recognise import recognise
from safeconvert.reference import Reference
from safeconvert.report import build, render
from safeconvert.router import SUFFIX, Router, Sample, Settings
from safeconvert.routes import frameworks, routes
from safeconvert.sides import Side, explain, shorten
from safeconvert.torch_archive import code_in_pt2

Array = np.ndarray[Any, Any]
DEFAULT_PREPROCESS = {"torch": "torch", "onnx": "torch", "keras": "keras", "tf": "keras", "tflite": "keras"}
PROBES = 32  # where a person gives no inputs
SAMPLE = 4  # inputs of each kind that every hop is checked on


class Observer(Protocol):
    """What a run tells while it goes on; the command line draws it."""

    def say(self, what: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Silent:
    """Tells nothing."""

    def say(self, what: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass


@dataclass(frozen=True)
class Result:
    """The outcome. ``target`` is the file that now stands at the output path: only where it was verified or
    repaired; ``unverified`` is where a diverged one was kept. ``report`` is the report as in its JSON file."""

    verdict: Verdict
    target: Path | None
    unverified: Path | None
    report: Mapping[str, Any]
    reasons: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


@dataclass(frozen=True)
class Options:
    """How Source and inputs are read and how they are judged; the fields are the command line's options."""

    images: Path | None = None
    inputs: Path | None = None
    preprocess: str | None = None
    target_preprocess: str | None = None
    input_shape: Mapping[str, Sequence[int]] = field(default_factory=dict)
    input_layout: str = "keep"
    model_fn: str | None = None
    trust_pickle: bool = False
    signature: str | None = None
    quantize: str = "none"
    opset: int | None = None
    holdout: float = 0.5
    max_discrepancy: float = 0.0
    atol: float | None = None
    rtol: float | None = None
    seed: int = 0
    timeout: float = 600.0
    force: bool = False

    def __post_init__(self) -> None:
        if self.images is not None and self.inputs is not None:
            raise BadInput("--images and --inputs were both given. Give one of them.")
        if not 0 <= self.max_discrepancy <= 100:
            raise BadInput(f"--max-discrepancy {self.max_discrepancy} is not a percentage from 0 to 100.")
        for name in ("atol", "rtol"):
            if (value := getattr(self, name)) is not None and not (value >= 0 and np.isfinite(value)):
                raise BadInput(f"--{name} {value} is not a finite number of at least 0.")
        if self.timeout <= 0:
            raise BadInput(f"--timeout {self.timeout} is not a number of seconds above 0.")
        split(2, self.holdout, 0)

    @property
    def tolerance(self) -> Tolerance:
        default = Tolerance()
        if self.atol is None and self.rtol is None:
            return default
        atol = default.atol if self.atol is None else self.atol
        rtol = default.rtol if self.rtol is None else self.rtol
        return Tolerance(atol, rtol, "--atol, --rtol")


def convert(
    source: str | Path, to: str, *, output: str | Path | None = None, observer: Observer | None = None, **options: Any
) -> Result:
    """Convert a model to the format ``to`` and hand it over only where it agrees with its Source.

    ``to`` is one of ``torch``, ``keras``, ``tf``, ``tflite``, ``onnx``. ``options`` are the fields of :class:`Options`.
    Writes the Target at ``output`` (default: beside the Source) if it is verified, and the report beside it.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = _options(options)
    recognised = recognise(Path(source))
    if to == recognised.format:
        raise BadInput(f"{source} is a {to} model already. There is nothing to convert.")
    if to not in SUFFIX:
        raise BadInput(f"{to!r} is no format. Known: {', '.join(SUFFIX)}.")
    if chosen.quantize != "none" and to != "tflite":
        raise BadInput(f"--quantize {chosen.quantize} is for TFLite Targets; the Target here is {to}.")
    final = Path(output) if output is not None else default_output(recognised, to)
    publish.check_output(final, force=chosen.force)
    with publish.sole_writer(final), Workshop() as workshop:
        return _Run(workshop, recognised, chosen, observer or Silent()).convert(to, final)


def check(
    source: str | Path, target: str | Path, *, output: str | Path | None = None, observer: Observer | None = None, **options: Any
) -> Result:
    """Compare two models on the same inputs; nothing is converted or changed.

    ``output``: where to put ``<output>.report.json`` and ``.html``; without it no file is written.
    """
    chosen = _options(options)
    models = recognise(Path(source)), recognise(Path(target))
    with Workshop() as workshop:
        return _Run(workshop, models[0], chosen, observer or Silent()).check(models[1], None if output is None else Path(output))


def _options(options: Mapping[str, Any]) -> Options:
    for name in ("images", "inputs"):
        if options.get(name) is not None:
            options = {**options, name: Path(options[name])}
    return Options(**options)


def default_output(source: Recognised, to: str) -> Path:
    """Beside the Source: ``model.pt`` -> ``model.keras``; a SavedModel folder is ``model_savedmodel``."""
    stem = source.path.name if source.format == "tf" else source.path.stem
    return source.path.parent / (f"{stem}_savedmodel" if to == "tf" else stem + SUFFIX[to])


class _Run:
    """One run: its workshop, its Source, its inputs and its clock."""

    def __init__(self, workshop: Workshop, source: Recognised, options: Options, observer: Observer) -> None:
        self.workshop, self.options, self.observer = workshop, options, observer
        self.source = Side(workshop, "source", source, self._loading(source))
        self.timings: dict[str, float] = {}
        self.notes: list[str] = []
        self.preprocess: Preprocess | None = None
        self._begun = time.monotonic()

    # -- the two commands

    def convert(self, to: str, final: Path) -> Result:
        ways = routes(self.source.format, to)
        self.source.start()
        self._warm(ways, to)
        with self._clock("load"):
            self._load_source()
        with ThreadPoolExecutor(1) as pool:
            reference = self._reference(pool)
            router = self._router(reference)
            try:
                with self._clock("convert"):
                    stage = router.find(ways)
                if stage is None:
                    return self._finish(Verdict.FAILED, ("no route produced a model",), router.attempts, final=final)
                return self._judge(reference, stage.side, stage.feeds, router.attempts, final=final)
            finally:
                reference.close()

    def check(self, recognised: Recognised, report: Path | None) -> Result:
        target = Side(self.workshop, "target", recognised, self._loading(recognised))
        self.source.start()
        target.start()
        with self._clock("load"):
            self._load_source()
            self._load(target)
        with ThreadPoolExecutor(1) as pool:
            reference = self._reference(pool)
            reference.ahead(self._rows(reference))
            try:
                feeds = plan_feed(self.source.signature, self.shapes, target.signature)
                if isinstance(feeds, Mismatch):
                    count = [len(rows) for rows in self._rows(reference)]
                    compared = impossible(count[0], feeds.reason), impossible(count[1], feeds.reason)
                    return self._finish(
                        Verdict.DIVERGED, (feeds.reason,), [], reference=reference, target=target, compared=compared, report=report
                    )
                return self._judge(reference, target, feeds, [], report=report)
            finally:
                reference.close()

    # -- loading

    def _loading(self, recognised: Recognised) -> dict[str, Any]:
        """The options of the runtime's ``load`` for this model."""
        options = self.options
        if recognised.format == "torch" and recognised.flavour != "pt2":
            return {
                "shapes": self._given_shapes(),
                "model_fn": options.model_fn,
                "search": str(Path.cwd()),
                "trusted": options.trust_pickle,
            }
        if recognised.flavour == "savedmodel":
            return {"signature": options.signature}
        if recognised.format == "keras":
            return {"trusted": options.trust_pickle}
        return {}

    def _given_shapes(self) -> dict[str, list[int]]:
        """Input shapes from --input-shape, else from the arrays of --inputs."""
        shapes = {name: list(shape) for name, shape in self.options.input_shape.items()}
        if not shapes and self.options.inputs is not None:
            with contextlib.suppress(OSError, ValueError), np.load(self.options.inputs, allow_pickle=False) as stored:
                arrays = {name: list(stored[name].shape) for name in stored.files}
                shapes = {"": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
        return shapes

    def _load_source(self) -> None:
        recognised = self.source.recognised
        self.observer.say(f"loading {recognised.path.name}")
        self._guard(recognised)
        self._load(self.source)
        self.shapes = self._resolved(self.source.signature)

    def _guard(self, recognised: Recognised) -> None:
        """Refuse, before anything is loaded, what would run code or cannot work."""
        options, path = self.options, recognised.path
        if recognised.flavour == "module" and not options.trust_pickle:
            raise BadInput(
                f"{path} is a pickled module: reading it runs code from the file.\n"
                "If you trust where it comes from, pass --trust-pickle; else ask for a .pt2 or a state dict."
            )
        if recognised.flavour == "state_dict" and not options.model_fn:
            raise BadInput(
                f"{path} is a state dict: weights without an architecture.\n"
                "Name the function that makes it: --model-fn torchvision.models:mobilenet_v2"
            )
        if options.model_fn and ":" not in options.model_fn:
            raise BadInput(f"--model-fn {options.model_fn} is not of the form package.module:function.")
        if recognised.flavour == "pt2" and not options.trust_pickle and (code := code_in_pt2(path)):
            raise BadInput(
                f"{path} would run code when it is read: {code}.\nIf you trust where it comes from, pass --trust-pickle."
            )
        if recognised.format == "torch" and recognised.flavour != "pt2" and not self._given_shapes():
            raise BadInput(
                f"{path} does not say what its input looks like ({recognised.flavour}).\n"
                "Pass --input-shape 1,3,224,224 (with the model's own size), or arrays with --inputs."
            )

    def _load(self, side: Side) -> None:
        if side is not self.source:
            self._guard(side.recognised)
        try:
            side.child()
        except CallRaised as error:
            raise explain(error, side.recognised) from error
        except ChildFailed as error:
            raise BadInput(f"{side.path} cannot be loaded: {shorten(str(error))}") from error

    def _resolved(self, signature: Signature) -> dict[str, tuple[int | None, ...]]:
        """The shapes of the Source's inputs in this run: all but the batch are known. Raises :class:`BadInput`."""
        given = dict(self.options.input_shape)
        names = [spec.name for spec in signature.inputs]
        if "" in given:
            if len(names) != 1:
                raise BadInput(f"--input-shape needs a name, as the model has {len(names)} inputs: {', '.join(names)}.")
            given = {names[0]: given[""]}
        if unknown := sorted(set(given) - set(names)):
            raise BadInput(f"--input-shape names {unknown[0]!r}; the model's inputs are {', '.join(names)}.")
        stored = {} if given else self._given_shapes()
        if "" in stored and len(names) == 1:
            stored = {names[0]: stored[""]}
        shapes: dict[str, tuple[int | None, ...]] = {}
        for spec in signature.inputs:
            wanted = given.get(spec.name) or stored.get(spec.name)
            shapes[spec.name] = self._shape(spec, wanted, explicit=spec.name in given)
        return shapes

    def _shape(self, spec: TensorSpec, wanted: Sequence[int] | None, *, explicit: bool) -> tuple[int | None, ...]:
        if wanted is None:
            if spec.shape is None or any(size is None for size in spec.shape[1:]):
                raise BadInput(
                    f"input {spec} of {self.source.path} has open sizes.\nPass --input-shape {spec.name}:1,224,224,3 or the like."
                )
            return spec.shape
        if spec.shape is None:
            return (None, *wanted[1:])
        fits = len(wanted) == len(spec.shape) and all(
            have in (None, size) for have, size in zip(spec.shape[1:], wanted[1:], strict=True)
        )
        if not fits and explicit:
            raise BadInput(f"--input-shape {','.join(map(str, wanted))} does not fit the model's input {spec}.")
        if not fits:
            return spec.shape if all(d is not None for d in spec.shape[1:]) else (spec.shape[0], *wanted[1:])
        return (spec.shape[0], *wanted[1:])

    # -- inputs

    def _specs(self) -> list[TensorSpec]:
        return [TensorSpec(s.name, self.shapes[s.name], s.dtype) for s in self.source.signature.inputs]

    def _reference(self, pool: ThreadPoolExecutor) -> Reference:
        options = self.options
        folder = self.workshop.scratch("outputs")
        folder.mkdir()
        if options.inputs is not None:
            future = pool.submit(TensorInputs.load, options.inputs, self._specs(), self.workshop.scratch("x").parent)
            future.result()  # a wrong file is the person's to know at once
        elif options.images is not None:
            paths, skipped = ImageInputs.scan(options.images)
            self.preprocess = self._preprocess(options.preprocess)
            future = pool.submit(self._images, paths, skipped, self.preprocess)
        else:
            future = pool.submit(ProbeInputs.make, self._specs(), options.seed, PROBES)
        return Reference(self.source, future, folder)

    def _preprocess(self, name: str | None) -> Preprocess:
        if name is None:
            name = DEFAULT_PREPROCESS[self.source.format]
            self.notes.append(f"no --preprocess given: images are preprocessed the {name!r} way")
        return load_preprocess(name)

    def _images(self, paths: Sequence[Path], skipped: Any, preprocess: Preprocess) -> Inputs:
        name, height, width, channels, layout, dtype = self._image_input()
        return ImageInputs.prepare(
            paths,
            preprocess,
            name=name,
            height=height,
            width=width,
            channels=channels,
            layout=layout,
            dtype=dtype,
            cache=self.workshop.scratch("pixels").parent,
            skipped=skipped,
        )

    def _image_input(self) -> tuple[str, int, int, int, Any, str]:
        specs = self._specs()
        shape = specs[0].shape
        if len(specs) != 1 or shape is None or len(shape) != 4:
            raise BadInput(
                f"--images need a model with one input of four axes; this one takes {'; '.join(map(str, specs))}.\n"
                "Pass ready arrays with --inputs FILE.npz."
            )
        layout = layout_of(shape, self.source.format)
        channels, height, width = (shape[i] for i in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
        assert height is not None
        assert width is not None
        return specs[0].name, height, width, channels or 3, layout, specs[0].dtype

    def _rows(self, reference: Reference) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Calibration and held-out rows."""
        count = reference.inputs.count
        return split(count, self.options.holdout, self.options.seed) if count else ((), ())

    # -- conversion

    def _warm(self, ways: Sequence[tuple[str, ...]], to: str) -> None:
        """Start the children of the likeliest route at once: their frameworks load while the Source does."""
        if not ways:
            return
        for framework in dict.fromkeys(frameworks(ways[0])):
            if framework != self.source.framework:
                self.workshop.child(f"convert-{framework}", framework)
        Side(self.workshop, "target", Recognised(Path(), to, "")).start()

    def _router(self, reference: Reference) -> Router:
        options = self.options
        settings = Settings(
            options.tolerance, options.timeout, options.input_layout, options.quantize, options.opset, options.signature
        )
        sample: list[Sample] = []

        def take_sample() -> Sample:
            if not sample:
                sample.append(self._sample(reference))
            return sample[0]

        def before(hop: Any) -> None:
            if hop.framework == self.source.framework:
                reference.pause()

        def after(hop: Any) -> None:
            if reference.ready():
                reference.ahead(self._rows(reference))

        return Router(
            self.workshop,
            self.source,
            self.shapes,
            take_sample,
            lambda feeds: self._calibration(reference, feeds),
            settings,
            before=before,
            after=after,
            say=self.observer.say,
        )

    def _sample(self, reference: Reference) -> Sample:
        """A few of the person's inputs and a few probes, with the Source's outputs; probes it cannot answer are left out."""
        rows = self._rows(reference)[0][:SAMPLE]
        probes = ProbeInputs.make(self._specs(), self.options.seed, SAMPLE)
        parts: list[tuple[Mapping[str, Array], Sequence[Array]]] = []
        if rows:
            arrays = reference.inputs.read(rows)
            parts.append((arrays, self.source.run(arrays)))
        if not rows or reference.inputs.kind != "probes":
            arrays = probes.read(range(SAMPLE))
            with contextlib.suppress(CallRaised):
                outputs = self.source.run(arrays)
                if all(np.isfinite(o).all() for o in outputs):
                    parts.append((arrays, outputs))
        if not parts:
            raise BadInput(f"{self.source.path} gives no finite output on probes. Pass real inputs with --inputs or --images.")
        joined = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
        outputs = [np.concatenate(column) for column in zip(*[part[1] for part in parts], strict=True)]
        return Sample(joined, outputs)

    def _calibration(self, reference: Reference, feeds: Sequence[Feed]) -> Mapping[str, str]:
        """The calibration inputs as ``.npy`` files by the fed model's input names, for integer quantisation; at most 200."""
        rows = self._rows(reference)[0][:200]
        if reference.inputs.kind == "probes" or not rows:
            return {}
        files = {}
        for name, array in feed(feeds, reference.inputs.read(rows)).items():
            path = self.workshop.scratch("calibration.npy")
            np.save(path, array)
            files[name] = str(path)
        return files

    # -- the check

    def _judge(
        self,
        reference: Reference,
        target: Side,
        feeds: tuple[Feed, ...],
        attempts: list[Attempt],
        *,
        final: Path | None = None,
        report: Path | None = None,
    ) -> Result:
        quantized = self.source.signature.quantized or target.signature.quantized
        where: dict[str, Any] = {"reference": reference, "target": target, "final": final, "report": report}
        calibration, heldout = self._rows(reference)
        if not calibration:
            return self._finish(Verdict.UNDECIDED, ("no input could be read, so nothing was compared",), attempts, **where)
        reference.ahead((calibration, heldout))
        try:
            other = self._other_inputs(reference)
            with self._clock("check"):
                compared = (
                    self._compare(reference, target, feeds, calibration, other, "checking"),
                    self._compare(reference, target, feeds, heldout, other, "confirming"),
                )
        except ChildFailed as error:
            return self._finish(
                Verdict.UNDECIDED, (f"the Source does not run on these inputs: {shorten(str(error))}",), attempts, **where
            )
        judged = {"calibration": compared[0]} | ({"held-out": compared[1]} if heldout else {})
        limits = {"max_discrepancy": self.options.max_discrepancy, "values": not quantized}
        reasons = tuple(f"{name}: {reason}" for name, one in judged.items() for reason in one.differences(**limits))
        if not all(one.decidable for one in judged.values()):
            verdict = Verdict.UNDECIDED
            reasons = ("the Source gives NaN or infinity on some inputs, so these cannot be compared", *reasons)
        else:
            verdict = Verdict.DIVERGED if reasons else Verdict.VERIFIED
        if reasons and other is not None:
            reasons = (*reasons, "Target inputs were preprocessed by --target-preprocess, another way than the Source's")
        return self._finish(verdict, reasons, attempts, compared=compared, **where)

    def _other_inputs(self, reference: Reference) -> Inputs | None:
        """The same images as the deployment preprocesses them, where that is another way."""
        options = self.options
        if options.target_preprocess is None:
            return None
        if options.images is None or self.preprocess is None:
            raise BadInput("--target-preprocess works on --images; ready arrays are not preprocessed.")
        other = load_preprocess(options.target_preprocess)
        paths = [Path(reference.inputs.label(row)) for row in range(reference.inputs.count)]
        return self._images(paths, (), other)

    def _compare(
        self,
        reference: Reference,
        target: Side,
        feeds: tuple[Feed, ...],
        rows: Sequence[int],
        other: Inputs | None,
        what: str,
    ) -> Comparison:
        """Source against Target over these rows, batch by batch. Raises :class:`ChildFailed` for the Source's failures only."""
        total, done = Comparison(), 0
        names = self.source.output_names
        for batch, arrays, expected in reference.each(rows):
            given = arrays if other is None else other.read(batch)
            try:
                outputs = match_outputs(names, target.output_names, target.run(feed(feeds, given)))
            except ChildFailed as error:
                total += impossible(len(batch), f"the Target does not run: {shorten(str(error))}")
            else:
                total += compare(batch, expected, outputs, names, self.options.tolerance)
            done += len(batch)
            self.observer.progress(what, done, len(rows))
        return total

    # -- the end

    def _finish(
        self,
        verdict: Verdict,
        reasons: tuple[str, ...],
        attempts: Sequence[Attempt],
        *,
        reference: Reference | None = None,
        target: Side | None = None,
        compared: tuple[Comparison, Comparison] | None = None,
        final: Path | None = None,
        report: Path | None = None,
    ) -> Result:
        """Put the Target where its verdict lets it stand, and the report beside it."""
        good = verdict in (Verdict.VERIFIED, Verdict.REPAIRED)
        placed = kept = None
        if final is not None and target is not None:
            placed, kept = (final, None) if good else (None, publish.named(final, "unverified"))
        previous = publish.set_aside(final) if final is not None and not good else None
        notes = [*self.notes, *self.source.signature.notes, *self.source.notes, *(target.notes if target else [])]
        if previous is not None:
            notes.append(f"what stood at {final} is now {previous}")
        self.timings["total"] = time.monotonic() - self._begun
        document = build(
            verdict=verdict,
            reasons=reasons,
            source=self.source,
            target=target,
            target_path=placed or kept or (target.path if target else None),
            attempts=attempts,
            inputs=None if reference is None else reference.inputs,
            rows=None if reference is None else self._rows(reference),
            compared=compared,
            tolerance=self.options.tolerance,
            options=self.options,
            notes=notes,
            timings=self.timings,
            preprocess=self.preprocess,
        )
        base = final or report
        if base is not None:
            publish.put_text(self.workshop, render(document, "json"), base.with_name(base.name + ".report.json"))
            publish.put_text(self.workshop, render(document, "html"), base.with_name(base.name + ".report.html"))
        if placed is not None and self.preprocess is not None and target is not None:
            publish.put_text(self.workshop, self._contract(target), base_name(placed, ".input.json"))
        if target is not None and (chosen := placed or kept) is not None:
            publish.put(self.workshop, target.path, chosen)
        return Result(verdict, placed, kept, document, reasons)

    def _contract(self, target: Side) -> str:
        """The Target's input contract: the preprocessing its verdict holds for."""
        import json

        assert self.preprocess is not None
        _, height, width, channels, layout, _ = self._image_input()
        spec = target.signature.inputs[0]
        if spec.shape is not None and len(spec.shape) == 4:
            wanted = (height, width, channels)
            nhwc = all(a in (None, b) for a, b in zip(spec.shape[1:], wanted, strict=True))
            nchw = all(a in (None, b) for a, b in zip(spec.shape[1:], (channels, height, width), strict=True))
            layout = layout if nhwc == nchw else "nhwc" if nhwc else "nchw"
        used = self.preprocess
        if self.options.target_preprocess is not None:
            used = load_preprocess(self.options.target_preprocess)
        return json.dumps(contract(used, spec.name, height, width, channels, layout, spec.dtype), indent=1) + "\n"

    @contextlib.contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.timings[what] = self.timings.get(what, 0.0) + time.monotonic() - begun


def base_name(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


__all__ = ["Observer", "Options", "Result", "Silent", "check", "convert"]
