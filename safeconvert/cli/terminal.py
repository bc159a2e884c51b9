"""Show a run on the terminal: progress on standard error while it runs, a summary on standard output at its end."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..repair import FAULT_TYPES
from ..reporting.accuracies import accuracy_lines
from ..reporting.stored_integers import stored_lines
from ..reporting.wording import discrepancy_sentence, fault_sentence, graph_of, operator_lines

if TYPE_CHECKING:
    from ..api import Result

COLOURS = {"verified": "green", "repaired": "green", "diverged": "red", "failed": "red", "undecided": "yellow"}
FAULTS = 12  # faults that are shown at most; the report has all


class Terminal:
    """An observer that draws with rich; silent where standard error is no terminal, unless ``verbose``."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.verbose = verbose
        self._errors = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False)
        if not self._out.is_terminal:
            self._out = Console(highlight=False, width=120)  # a file or pipe has no width of its own
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            disable=quiet or not self._errors.is_terminal,
        )
        self._task = self._bars.add_task("starting", total=None)

    def __enter__(self) -> Terminal:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, what: str) -> None:
        self._bars.update(self._task, description=what, total=None, completed=0)
        if self.verbose:
            self._errors.print(what, markup=False)

    def progress(self, what: str, done: int, total: int) -> None:
        self._bars.update(self._task, description=what, total=total, completed=done)

    def summary(self, result: Result) -> None:
        """The verdict, how it was reached, and where the files are."""
        report, out = result.report, self._out
        colour = COLOURS[report["verdict"]]
        out.print(f"[bold {colour}]{report['verdict']}[/]", end="")
        self._line("" if result.target is None else f"  {result.target}")
        for reason in result.reasons:
            self._line(f"  {reason}")
        if sentence := discrepancy_sentence(report["check"]):
            self._line(f"  {sentence}")
        if report["route"]:
            out.print(_route(report["route"]))
            for line in _why(report["route"]):
                self._line(line)
        self._crashes(report)
        self._faults(report)
        if "quantization" in report:
            self._quantization(report["quantization"])
        for line in (*stored_lines(report), *accuracy_lines(report["check"])):
            self._line(line)
        if report["check"]["after"] is not None:
            out.print(_check(report["check"]))
            self._line(_tolerance(report["check"]))
            measured = {entry["name"]: entry for entry in report["check"]["after"]["calibration"]["outputs"]}
            for output in report["check"]["outputs"]:
                self._line(_output(output, measured.get(output["name"], {}).get("figures", {})))
        skipped = report["check"]["inputs"]["skipped"]
        for entry in skipped[:5]:
            self._line(f"skipped {entry['path']}: {entry['reason']}")
        if len(skipped) > 5:
            self._line(f"... and {len(skipped) - 5} more: see the report")
        for note in report["notes"]:
            self._line(f"note: {note}")
        for path, purpose in result.files:
            self._line(f"wrote {path}: {purpose}")

    def _crashes(self, report: Mapping[str, Any]) -> None:
        """Say on which single nodes a converter that crashed on the graph crashes too."""
        for attempt in report["route"]:
            for node in attempt.get("fails_on", ())[:FAULTS]:
                self._line(f"{attempt['converter']} also fails on {node['operator']} ({node['node']}) by itself")
                if "command" in node:
                    self._line(f"  reproduce: {node['command']}")

    def _faults(self, report: Mapping[str, Any]) -> None:
        """Say what each fault is, where, what was done about it, and how to see it."""
        for fault in report["faults"][:FAULTS]:
            self._line(
                f"fault {fault['id']}, {fault['type']} ({FAULT_TYPES[fault['type']]}): {fault_sentence(fault, report)}"
            )
            if command := fault.get("reproduce", {}).get("command"):
                self._line(f"  reproduce: {command}")
        if (more := len(report["faults"]) - FAULTS) > 0:
            self._line(f"... and {more} more: see the report")

    def _quantization(self, part: Mapping[str, Any]) -> None:
        """Show what was tried, what each kind costs, and how the file computes."""
        self._out.print(_steps(part["frontier"]))
        if part["table"]:
            self._out.print(_steps(part["table"]))
            for row in part["table"]:
                self._line(f"to ship {row['kind']}: {row['command'] or 'no --max-discrepancy lets its outputs pass'}")
        for line in operator_lines(part["operators"]):
            self._line(line)

    def _line(self, text: str) -> None:
        self._out.print(text, markup=False, soft_wrap=True)


def _route(attempts: list[dict[str, Any]]) -> Table:
    """The hops of the Target's own route, and what was tried beside them, the same outcomes together."""
    table = Table("hop", "converter", "graph", "status", "s", box=None, pad_edge=False)
    groups: dict[tuple[str, ...], list[float]] = {}
    for attempt in attempts:
        status = attempt["status"] + (" *" if attempt["used"] else "")
        key = (attempt["hop"], f"{attempt['converter']} {attempt['version']}".strip(), graph_of(attempt), status)
        groups.setdefault(key, []).append(attempt["seconds"])
    for group, seconds in groups.items():
        times = f" ({len(seconds)} times)" if len(seconds) > 1 else ""
        table.add_row(*group[:3], group[3] + times, f"{sum(seconds):.1f}")
    return table


def _why(attempts: list[dict[str, Any]], most: int = 6) -> list[str]:
    """What went wrong on the way, each message once."""
    lines: dict[str, str] = {}
    for attempt in attempts:
        if attempt["message"]:
            start = f"{attempt['hop']} with {attempt['converter']} {attempt['status']}: "
            lines.setdefault(start + attempt["message"][:60], start + _cut(attempt["message"]))
    reasons = list(lines.values())
    return reasons if len(reasons) <= most else [*reasons[:most], f"... and {len(reasons) - most} more: see the report"]


def _steps(steps: list[dict[str, Any]]) -> Table:
    has_accuracy = "accuracy" in steps[0]
    table = Table(
        "quantisation", "MB", "% of float", "calibration", "held-out", "95 % bound", "latency ratio", "margin error",
        *(["accuracy (Source)"] if has_accuracy else []), box=None, pad_edge=False,
    )  # fmt: skip
    for step in steps:
        heldout = step["heldout"] or {}
        table.add_row(
            step["plan"] + (" *" if step["shipped"] else ""),
            f"{step['size'] / 1e6:.2f}",
            f"{100 * step['share_of_float']:.0f}",
            _percent(step["calibration"]["percent"]),
            _percent(heldout.get("percent")),
            _percent(heldout.get("upper_bound_95"), "< "),
            "-" if step["latency_ratio"] is None else f"{step['latency_ratio']:.2f}",
            "-" if step["output_error"] is None else f"{step['output_error']:.3g}",
            *([_accuracies(step["accuracy"])] if has_accuracy else []),
        )
    return table


def _accuracies(part: Mapping[str, Any]) -> str:
    """The Target's accuracy and the Source's on the held-out inputs, else on the calibration inputs."""
    measured = part["heldout"] or part["calibration"]
    return "-" if measured is None else f"{measured['target']:.2f} % ({measured['source']:.2f} %)"


def _percent(value: float | None, start: str = "") -> str:
    return "-" if value is None else f"{start}{value:.2f} %"


def _check(check: dict[str, Any]) -> Table:
    table = Table(
        "inputs",
        "count",
        "labels differ" if check["comparator"] == "top1" else "differ",
        "discrepancy",
        "95 % bound",
        "near-ties",
        "max abs",
        box=None,
        pad_edge=False,
    )
    for name in ("calibration", "heldout"):
        comparison = check["after"][name]
        if comparison["count"]:
            bound = "-" if comparison["upper_bound_95"] is None else f"< {comparison['upper_bound_95']:.2f} %"
            largest = "-" if comparison["max_abs"] is None else f"{comparison['max_abs']:.2g}"
            table.add_row(
                name,
                str(comparison["count"]),
                str(comparison["labels_differ"]),
                f"{comparison['percent']:.2f} %",
                bound,
                str(comparison["near_ties"]),
                largest,
            )
    return table


def _tolerance(check: dict[str, Any]) -> str:
    rule = check["tolerance"]
    return f"{check['inputs']['kind']} ({check['inputs']['strength']}); decided by {rule['decides']}"


def _output(output: dict[str, Any], figures: dict[str, Any]) -> str:
    """What an output is and what it was held to; of a quantised one also what was measured on the calibration set."""
    rule = output["tolerance"]
    line = f"output {output['name']}: {output['kind']} ({output['kind_origin']}); {rule['rule']}"
    if output["kind"] != "ids" and not output["is_quantized"]:
        line += f", so {rule['smallest']:.2g} to {rule['largest']:.2g} ({rule['origin']})"
    elif output["is_quantized"]:
        line += f" ({rule['max_error_origin']})"
        shown = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in figures.items() if value is not None]
        line += f"; measured: {', '.join(shown)}" if shown else ""
    if output["is_constant"]:
        line += "; the same for all inputs"
    return line + ("; ill-conditioned" if output["ill_conditioned"] else "")


def _cut(text: str, width: int = 160) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
