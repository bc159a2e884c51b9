"""What a person sees: a progress line while it runs, a summary at its end. All on standard error but the summary."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from safeconvert.api import Result

COLOURS = {"verified": "green", "repaired": "green", "diverged": "red", "failed": "red", "undecided": "yellow"}


class Terminal:
    """An observer that draws with rich; silent where standard error is no terminal, unless ``verbose``."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.verbose = verbose
        self._errors = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False, soft_wrap=False)
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
        out.print("" if result.target is None else f"  {result.target}", markup=False)
        for reason in result.reasons:
            out.print(f"  {reason}", markup=False)
        if report["route"]:
            out.print(_route(report["route"]))
            for one in report["route"]:
                if one["message"]:
                    out.print(
                        f"{one['hop']} with {one['converter']} {one['status']}: {_cut(one['message'])}", markup=False
                    )
        if report["check"]["after"] is not None:
            out.print(_check(report["check"]))
            out.print(_tolerance(report["check"]), markup=False)
        for skipped in report["check"]["inputs"]["skipped"][:5]:
            out.print(f"skipped {skipped['path']}: {skipped['reason']}", markup=False)
        if len(report["check"]["inputs"]["skipped"]) > 5:
            out.print(f"... and {len(report['check']['inputs']['skipped']) - 5} more: see the report", markup=False)
        for note in report["notes"]:
            out.print(f"note: {note}", markup=False)
        if result.unverified is not None:
            out.print(f"the unverified Target is kept at {result.unverified}", markup=False)


def _route(attempts: list[dict[str, Any]]) -> Table:
    table = Table("hop", "converter", "fed", "status", "s", box=None, pad_edge=False)
    for one in attempts:
        status = one["status"] + (" *" if one["used"] else "")
        cells = (one["hop"], f"{one['converter']} {one['version']}", one["form"] or "as it is", status)
        table.add_row(*cells, f"{one['seconds']:.1f}")
    return table


def _check(check: dict[str, Any]) -> Table:
    table = Table(
        "inputs",
        "count",
        "labels differ",
        "discrepancy",
        "95 % bound",
        "near-ties",
        "max abs",
        box=None,
        pad_edge=False,
    )
    for name in ("calibration", "heldout"):
        one = check["after"][name]
        if one["count"]:
            bound = "-" if one["upper_bound_95"] is None else f"< {one['upper_bound_95']:.2f} %"
            largest = "-" if one["max_abs"] is None else f"{one['max_abs']:.2g}"
            table.add_row(
                name,
                str(one["count"]),
                str(one["labels_differ"]),
                f"{one['percent']:.2f} %",
                bound,
                str(one["near_ties"]),
                largest,
            )
    return table


def _tolerance(check: dict[str, Any]) -> str:
    rule = check["tolerance"]
    return (
        f"{check['inputs']['kind']} ({check['inputs']['strength']}); {rule['decides']} decide; tolerance "
        f"{rule['atol']:g} + {rule['rtol']:g} * max|output| ({rule['origin']})"
    )


def _cut(text: str, width: int = 160) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
