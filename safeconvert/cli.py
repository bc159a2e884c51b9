"""The command line: a thin caller of :mod:`safeconvert.api`. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from safeconvert.errors import BadInput
from safeconvert.model import FORMATS

FIRST = {
    "torch": "model.pt2",
    "keras": "model.keras",
    "tf": "saved_model/",
    "tflite": "model.tflite",
    "onnx": "model.onnx",
}


class Shape(click.ParamType):  # type: ignore[type-arg]
    """``NAME:1,3,224,224``, or the sizes alone for a model with one input."""

    name = "NAME:SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, _, sizes = str(value).rpartition(":")
        try:
            shape = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if len(shape) < 1 or min(shape) < 1:
            self.fail(f"{value!r} is not of the form NAME:1,3,224,224 with sizes of at least 1.", param, ctx)
        return name, shape


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of those names, in the order of ``OPTIONS``."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed([n for n in OPTIONS if not names or n in names]):
            function = OPTIONS[name](function)
        return function

    return add


OPTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "output": click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Where the Target goes. [default: beside the Source]"
    ),
    "images": click.option(
        "--images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Photos to compare on: a flat folder, or one folder per class.",
    ),
    "inputs": click.option(
        "--inputs",
        type=click.Path(path_type=Path),
        metavar="FILE.npz",
        help="Arrays to compare on, by input name, first axis the batch.",
    ),
    "preprocess": click.option(
        "--preprocess", metavar="NAME|FILE.json", help="How the Source's images are prepared. [default: by framework]"
    ),
    "target_preprocess": click.option(
        "--target-preprocess",
        metavar="NAME|FILE.json",
        help="How the deployment prepares the Target's images. [default: as the Source's]",
    ),
    "embed_preprocessing": click.option(
        "--embed-preprocessing",
        is_flag=True,
        help="Change the Target so that it is right for what --target-preprocess does.",
    ),
    "input_shape": click.option(
        "--input-shape",
        type=Shape(),
        multiple=True,
        metavar="NAME:1,3,224,224",
        help="Input sizes, where the file leaves them open.",
    ),
    "input_layout": click.option(
        "--input-layout",
        type=click.Choice(["keep", "nchw", "nhwc"]),
        default="keep",
        show_default=True,
        help="Layout of the Target's image input.",
    ),
    "model_fn": click.option(
        "--model-fn", metavar="PKG.MODULE:FUNCTION", help="Makes the architecture of a state dict."
    ),
    "trust_pickle": click.option(
        "--trust-pickle", is_flag=True, help="Let the file run code of its own: pickled modules, Lambda layers."
    ),
    "signature": click.option(
        "--signature", metavar="NAME", help="Which signature of a SavedModel. [default: serving_default]"
    ),
    "quantize": click.option(
        "--quantize",
        type=click.Choice(["none", "float16", "dynamic", "int8"]),
        default="none",
        show_default=True,
        help="Quantisation of a TFLite Target.",
    ),
    "opset": click.option("--opset", type=click.IntRange(7, 26), help="ONNX opset to write. [default: the exporter's]"),
    "holdout": click.option(
        "--holdout",
        type=float,
        default=0.5,
        show_default=True,
        help="Fraction of inputs that only the final check sees.",
    ),
    "max_discrepancy": click.option(
        "--max-discrepancy",
        type=float,
        default=0.0,
        show_default=True,
        metavar="PERCENT",
        help="Labels that may differ.",
    ),
    "atol": click.option("--atol", type=float, help="Absolute tolerance of output values. [default: 1e-4]"),
    "rtol": click.option("--rtol", type=float, help="Tolerance relative to an input's largest output. [default: 1e-3]"),
    "seed": click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of probes and of the held-out choice.",
    ),
    "timeout": click.option(
        "--timeout", type=float, default=600.0, show_default=True, metavar="SECONDS", help="For each hop."
    ),
    "no_repair": click.option(
        "--no-repair", is_flag=True, help="Name the faults of a converter, and leave them: nothing is fed another form."
    ),
    "repair_time": click.option(
        "--repair-time",
        type=float,
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="For finding and repairing faults, in all; then the best so far is taken.",
    ),
    "force": click.option("--force", is_flag=True, help="Replace what stands at --output."),
    "as_json": click.option(
        "--json", "as_json", is_flag=True, help="Print the report as JSON on standard output, and nothing else there."
    ),
    "quiet": click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    "verbose": click.option("-v", "--verbose", is_flag=True, help="Say each step; show tracebacks."),
}

CONVERTING = (
    "output", "embed_preprocessing", "input_layout", "quantize", "opset", "timeout", "no_repair", "repair_time",
    "force",
)  # fmt: skip

SECTIONS = """\b
Convert (20 pairs of torch, keras, tf, tflite, onnx):
  safeconvert torch2keras model.pt2 --images photos/
  safeconvert keras2tflite model.keras --quantize int8 --images photos/
\b
Compare two models:
  safeconvert check model.pt2 model.onnx --inputs inputs.npz
\b
Exit codes: 0 verified or repaired, 1 diverged, 2 bad usage or input, 3 failed, 4 undecided.
"""


class Commands(click.Group):
    """Lists the twenty pair commands in one line instead of twenty."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [("SRC2DST", f"Convert and verify; SRC and DST are two of {', '.join(FORMATS)}.")]
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden and name not in PAIRS:
                rows.append((name, command.get_short_help_str(90)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=Commands,
    epilog=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="safeconvert")
def cli() -> None:
    """Convert image models between frameworks, verified on your own images."""


PAIRS = tuple(f"{a}2{b}" for a in FORMATS for b in FORMATS if a != b)


def _pair(source: str, target: str) -> click.Command:
    name = f"{source}2{target}"

    @click.command(
        name,
        help=f"Convert {source} to {target} with real converters, and hand it over only if it agrees.",
        epilog=f"\b\nExample:\n  safeconvert {name} {FIRST[source]} --images photos/ -o {FIRST[target]}",
        context_settings={"max_content_width": 110},
    )
    @click.argument("model", type=click.Path(path_type=Path))
    @options()
    def run(model: Path, **given: Any) -> None:
        from safeconvert.recognise import recognise

        def work(observer: Any, output: Path | None, **chosen: Any) -> Any:
            from safeconvert.api import convert

            recognise(model, source)
            return convert(model, target, output=output, observer=observer, **chosen)

        _call(work, given)

    return run


for _source in FORMATS:
    for _target in FORMATS:
        if _source != _target:
            cli.add_command(_pair(_source, _target))


@cli.command(
    epilog="\b\nExample:\n  safeconvert check model.pt2 model.tflite --images photos/",
    context_settings={"max_content_width": 110},
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write OUTPUT.report.json and OUTPUT.report.html."
)
@options(*(n for n in OPTIONS if n not in CONVERTING))
def check(source: Path, target: Path, **given: Any) -> None:
    """Compare TARGET with SOURCE on the same inputs; nothing is converted."""

    def work(observer: Any, output: Path | None, **chosen: Any) -> Any:
        from safeconvert.api import check

        return check(source, target, output=output, observer=observer, **chosen)

    _call(work, given)


@cli.command(
    epilog="\b\nExample:\n  safeconvert repair model.pt2 model.keras -o fixed.keras --images photos/",
    context_settings={"max_content_width": 110},
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where the repaired Target goes.")
@options(*(n for n in OPTIONS if n not in ("output", "input_layout", "quantize", "opset")))
def repair(source: Path, target: Path, **given: Any) -> None:
    """Find what is wrong with TARGET, wherever it came from, and write it mended, in its own format."""

    def work(observer: Any, output: Path, **chosen: Any) -> Any:
        from safeconvert.api import repair

        return repair(source, target, output=output, observer=observer, **chosen)

    _call(work, given)


@cli.command()
@click.argument("source", type=click.Choice(FORMATS), required=False)
@click.argument("target", type=click.Choice(FORMATS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def routes(source: str | None, target: str | None, as_json: bool) -> None:
    """Show the chains of converters between two formats, in the order tried."""
    from safeconvert.show import routes_as_json, show_routes

    if as_json:
        click.echo(json.dumps(routes_as_json(source, target), indent=1))
    else:
        show_routes(source, target)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show what is installed, what works with it, and what to install."""
    from safeconvert.doctor import diagnose, show

    found = diagnose()
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        show(found)


@cli.group()
def env() -> None:
    """Environments of their own for converters whose pins fit nothing else."""


@env.command("list")
def env_list() -> None:
    """Show the environments and whether they are installed."""
    from safeconvert.show import show_environments

    show_environments()


@env.command("install")
@click.argument("name")
def env_install(name: str) -> None:
    """Make the environment NAME (onnx2tf) in the user's cache folder."""
    sys.exit(_guarded(lambda: _install(name), verbose=False))


def _install(name: str) -> None:
    from safeconvert.environments import folder, install, recipe

    recipe(name)
    click.echo(f"installing {name} in {folder(name)} (some minutes, under a gigabyte) ...", err=True)
    click.echo(f"{name} {install(name)} is installed.")


@cli.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-output"), show_default=True
)
@click.option("-q", "--quiet", is_flag=True)
@click.option("-v", "--verbose", is_flag=True)
def demo(output: Path, quiet: bool, verbose: bool) -> None:
    """Convert a real pretrained ImageNet model from PyTorch to Keras and TFLite, on real photos."""
    from safeconvert.demo import run

    sys.exit(_guarded(lambda: run(output, quiet=quiet, verbose=verbose), verbose=verbose))


def _call(work: Callable[..., Any], given: dict[str, Any]) -> None:
    """Run ``work`` with the options given, show its result, and exit with its code."""
    as_json, quiet, verbose = given.pop("as_json"), given.pop("quiet"), given.pop("verbose")
    given["input_shape"] = dict(given.pop("input_shape"))

    def run() -> int:
        from safeconvert.terminal import Terminal

        terminal = Terminal(quiet=quiet or as_json, verbose=verbose)
        with terminal:
            result = work(terminal, given.pop("output"), **given)
        if as_json:
            click.echo(json.dumps(result.report, indent=1))
        elif not quiet:
            terminal.summary(result)
        return int(result.exit_code)

    sys.exit(_guarded(run, verbose=verbose))


def _guarded(run: Callable[[], int | None], *, verbose: bool) -> int:
    """Errors as one or two lines, with a traceback only where it was asked for; exit codes as promised.

    2: what the person can mend. 3: a defect of this program or of the machine, so that no model came of it.
    130: Ctrl-C.
    """
    try:
        return run() or 0
    except KeyboardInterrupt:
        click.echo("interrupted: no model was written", err=True)
        return 130
    except Exception as error:  # noqa: BLE001 - the border of the process
        if verbose:
            import traceback

            traceback.print_exc()
        if isinstance(error, BadInput):
            click.echo(f"error: {error}", err=True)
            return 2
        if isinstance(error, OSError):
            what = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {what}{error.strerror or error}", err=True)
            return 2
        first = str(error).strip().partition("\n")[0][:200]
        click.echo(f"error: unexpected {type(error).__name__}: {first}\nRun again with -v for the traceback.", err=True)
        return 3


def main() -> None:
    """Entry point of the ``safeconvert`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    try:
        code = cli(prog_name="safeconvert", standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "safeconvert"
        click.echo(f"error: {error.format_message()}\nTry: {command} --help", err=True)
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: no model was written", err=True)
        code = 130
    sys.exit(code or 0)
