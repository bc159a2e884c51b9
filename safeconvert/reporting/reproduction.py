"""How to see a converter's fault outside of the run that found it: files of the node alone, commands, a bug report."""

from __future__ import annotations

import itertools
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..conversion.findings import Crash, HopFinding, NodeDifference, Replayed
from ..conversion.hop_runner import HopRunner
from ..conversion.routes import package_version, version
from ..converters.hop import Hop
from ..errors import WorkerFailed
from ..options import Options
from ..records import Attempt, Diagnosis
from ..repair.localization.single_node import SingleNode, SingleNodeFiles
from ..repair.remote_functions import WRITE_SINGLE_NODES

MOST = 12  # faults that get files
MAX_MODEL_BYTES = 64 << 20  # of a node's model
MAX_INPUT_BYTES = 4 << 20  # of the activations stored with a node's model
BESIDE = re.compile(r"\.(fault-F|crash-)[1-9]\d*\.(onnx|npz)")


class Reproducer:
    """Makes ``reproduce`` of faults. ``files``, what was made and its place, are to be put beside the report."""

    def __init__(self, hop_runner: HopRunner, options: Options, run: Sequence[str], final: Path) -> None:
        self.hop_runner, self.options, self.final = hop_runner, options, final
        self.run = shlex.join(run)
        self._kept = _read(hop_runner.source.path, options)
        self.files: list[tuple[Path, Path]] = []

    def __call__(self, faults: Sequence[Diagnosis], findings: Sequence[HopFinding]) -> list[dict[str, Any]]:
        """Return the ``reproduce`` entry of each fault; their order is the report's, which numbers them."""
        entries = {f"fault-F{number}": {"run": self.run} for number, _ in enumerate(faults, 1)}
        numbered = list(zip(entries, faults, strict=True))
        for finding in findings:
            if finding.fed.model is self.hop_runner.source and len(finding.ranking) == 1:
                continue  # the Source is that node alone already
            nodes = {local.node: local for local in finding.faults}
            chosen = {
                tag: nodes[fault.source_node]
                for tag, fault in numbered[:MOST]
                if fault.hop == finding.hop.label and fault.source_node in nodes
            }
            for tag, more in self._alone(finding, chosen).items():
                entries[tag] |= more
        return list(entries.values())

    def crashed(self, attempts: Sequence[Attempt], crashes: Sequence[Crash]) -> list[Attempt]:
        """The route, with the nodes that a converter does not convert alone either where it crashed."""
        route, count = list(attempts), itertools.count(1)
        for crash in crashes:
            chosen = {f"crash-{next(count)}": local for local in crash.nodes[:MOST]}
            files = self._alone(crash, chosen)
            failing_nodes = [
                {"node": local.node, "operator": local.operator, "says": local.failed, **files.get(tag, {})}
                for tag, local in chosen.items()
            ]
            route[crash.attempt] = replace(route[crash.attempt], fails_on=tuple(failing_nodes))
        return route

    def _alone(self, finding: Replayed, chosen: Mapping[str, NodeDifference]) -> dict[str, dict[str, Any]]:
        """Models of the nodes alone, by the tag of their files; nothing of those that cannot stand alone."""
        if not chosen:
            return {}
        scratch = self.hop_runner.workers.scratch("x").parent
        files = [
            SingleNodeFiles(local.node, str(scratch / f"{tag}.onnx"), str(scratch / f"{tag}.npz"))
            for tag, local in chosen.items()
        ]
        try:
            nodes = WRITE_SINGLE_NODES(
                self.hop_runner.workers.worker("onnx_tflite", "onnx_tflite"),
                self.hop_runner.settings.timeout,
                path=finding.fed.model.location,
                shapes=dict(finding.shapes),
                rows=list(finding.rows),
                nodes=files,
                max_model_bytes=MAX_MODEL_BYTES,
                max_input_bytes=MAX_INPUT_BYTES,
            )
        except WorkerFailed:
            return {}  # a help to those who mend the converter; the report stands without it
        return {
            tag: self._entry(finding.hop, local, tag, node, scratch)
            for (tag, local), node in zip(chosen.items(), nodes, strict=True)
            if isinstance(node, SingleNode)
        }

    def _entry(self, hop: Hop, local: NodeDifference, tag: str, node: SingleNode, scratch: Path) -> dict[str, Any]:
        endings = (".onnx", ".npz") if node.row_count else (".onnx",)
        places = [self.final.with_name(f"{self.final.name}.{tag}{ending}") for ending in endings]
        if self._kept & {place.resolve() for place in places}:
            return {}  # what this run read is never replaced
        self.files += [(scratch / f"{tag}{ending}", place) for ending, place in zip(endings, places, strict=True)]
        names = [place.name for place in places]
        entry = {
            "model": names[0],
            "inputs": names[1] if node.row_count else None,
            "issue": issue(hop, local, node, *names),
        }
        if node.has_batch_axis:
            entry["command"] = self._command(hop, *names)
        return entry

    def _command(self, hop: Hop, model: str, inputs: str | None = None) -> str:
        words = ["safeconvert", f"{hop.source}2{hop.target}", model, "--no-repair"]
        words += ["--inputs", inputs] if inputs else []
        for name in ("atol", "rtol"):
            if (value := getattr(self.options, name)) is not None:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def stale(final: Path, written: Sequence[Path], source: Path, options: Options) -> list[Path]:
    """Files of faults of an earlier run to the same place, but for what this run read."""
    paths_in_use = {path.resolve() for path in written} | _read(source, options)
    return [
        path
        for path in final.parent.iterdir()
        if path.name.startswith(final.name)
        and BESIDE.fullmatch(path.name[len(final.name) :])
        and path.resolve() not in paths_in_use
    ]


def _read(source: Path, options: Options) -> set[Path]:
    return {path.resolve() for path in (source, options.inputs) if path is not None}


def issue(hop: Hop, local: NodeDifference, node: SingleNode, model: str, inputs: str | None = None) -> str:
    """A bug report for the converter's tracker, as Markdown."""
    names = dict.fromkeys((hop.distribution, *hop.requires, "onnx", "onnxruntime", "numpy"))
    versions = [f"{name} {installed}" for name in names if (installed := package_version(name))]
    if hop.environment is not None:
        versions = [f"{hop.distribution} {version(hop)} with the versions it pins"]
    symptom = "conversion fails" if local.failed else "wrong output"
    if not local.failed and local.target_shape != local.source_shape:
        symptom = "output of another shape"
    return "\n".join(
        [
            f"# {hop.converter} {version(hop)}: {local.operator}: {symptom}",
            "",
            f"Versions: {', '.join(versions)}; Python {platform.python_version()}, {platform.system()}",
            "",
            f"The node alone, as in the attached `{model}`:",
            "```",
            node.text,
            "```",
            f"Expected: what onnxruntime gives, shape {list(local.source_shape)}.",
            f"Actual: {_actual(local)}",
            "",
            f"To reproduce{f', with the attached `{inputs}`' if inputs else ''}:",
            "```python",
            lines(hop, node, model, inputs),
            "```",
        ]
    )


def _actual(local: NodeDifference) -> str:
    if local.failed:
        return f"the conversion fails: {local.failed}"
    if local.target_shape != local.source_shape:
        return f"shape {list(local.target_shape or ())}."
    if local.max_abs is None:
        return "NaN or infinity where onnxruntime gives numbers."
    return f"differs by up to {local.max_abs:.4g} (largest absolute difference)."


def lines(hop: Hop, node: SingleNode, model: str, inputs: str | None) -> str:
    """Python that converts the node by the converter alone and prints the difference to onnxruntime."""
    assert hop.script is not None, f"{hop.converter} reads ONNX and has no script"
    if inputs:
        sizes = {shape[0] for shape in node.inputs.values()}
        first = f"a[:{min(sizes)}]" if len(sizes) == 1 else "a"
        read = f"x = {{name: {first} for name, a in numpy.load({inputs!r}).items()}}"
    else:
        shapes = ", ".join(f"{name!r}: {list(shape)}" for name, shape in node.inputs.items())
        read = (
            "random = numpy.random.default_rng(0)\n"
            f"x = {{name: random.normal(size=shape).astype('float32') for name, shape in {{{shapes}}}.items()}}"
        )
    return f"""\
import numpy, onnx, onnxruntime
{hop.script.imports}
{read}
expected = onnxruntime.InferenceSession({model!r}).run(None, x)
{hop.script.convert.replace("MODEL", repr(model))}
for e, o in zip(expected, outputs):
    print(e.shape, o.shape, abs(e - o).max() if e.shape == o.shape else "another shape")"""
