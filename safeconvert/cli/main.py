"""The command line: a thin caller of :mod:`safeconvert.api`. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import BadInput, collecting, refuse
from ..formats import FORMAT_NAMES, FORMATS
from .all_mistakes import Command
from .arguments import BACKEND_OPTIONS, CONVERTING, NOT_IN_MATRIX, OPTIONS, options, output
from .execution import as_keywords, exit_code_of, run_command
from .pair_commands import Commands, pair_command

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


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="safeconvert")
@click.pass_context
def cli(context: click.Context) -> None:
    """Convert models between frameworks; you get a file only if its predictions match the original's."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _source in FORMATS:
    for _target in FORMATS:
        if _source != _target:
            cli.add_command(pair_command(_source, _target))


def _backend_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(BACKEND_OPTIONS):
        function = option(function)
    return function


@cli.command(
    cls=Command,
    epilog="\b\nExample:\n  safeconvert check model.pt2 model.tflite --images photos/",
    context_settings={"max_content_width": 110},
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@output("Write OUTPUT.report.json and OUTPUT.report.html.")
@click.option(
    "--shards", type=click.IntRange(min=1), metavar="N", help="Compare the inputs in N tasks of --backend; same counts."
)
@_backend_options
@options(*(n for n in OPTIONS if n not in CONVERTING))
def check(
    source: Path,
    target: Path,
    shards: int | None,
    backend: str,
    scheduler: str | None,
    jobs: int | None,
    **arguments: Any,
) -> None:
    """Compare TARGET with SOURCE on the same inputs; nothing is converted."""

    def check_arguments(output: Path | None, **chosen: Any) -> None:
        from ..runs.early_checks import check_comparison

        mistakes: list[str] = []
        if shards is None and (backend != "loky" or scheduler is not None or jobs is not None):
            mistakes.append("--backend, --scheduler and --jobs are for --shards N. Give it too.")
        with collecting(mistakes):
            check_comparison(source, target, chosen, output)
        refuse(mistakes)

    def work(observer: Any, output: Path | None, **chosen: Any) -> Any:
        if shards is None:
            from ..api import check

            return check(source, target, output=output, observer=observer, **chosen)
        from ..batch.backends import Backend
        from ..batch.shards import check_in_shards

        cluster = Backend(backend, scheduler, jobs)
        return check_in_shards(source, target, shards, cluster, output=output, observer=observer, **chosen)

    run_command(check_arguments, work, arguments)


@cli.command(
    cls=Command,
    epilog="\b\nExample:\n  safeconvert repair model.pt2 model.keras -o fixed.keras --images photos/",
    context_settings={"max_content_width": 110},
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@output("Where the repaired Target goes.")
@options(
    *(
        n
        for n in OPTIONS
        if n not in ("output", "input_layout", "quantize", "quantizer", "io_type", "opset", "max_latency_ratio")
    )
)
def repair(source: Path, target: Path, **arguments: Any) -> None:
    """Find what is wrong with TARGET, from any converter, and write it repaired in its own format."""

    def check_arguments(output: Path | None, **chosen: Any) -> None:
        from ..runs.early_checks import check_given_target

        check_given_target(source, target, chosen, output)

    def work(observer: Any, output: Path, **chosen: Any) -> Any:
        from ..api import repair

        return repair(source, target, output=output, observer=observer, **chosen)

    run_command(check_arguments, work, arguments, is_output_required=True)


@cli.command(
    epilog="\b\nExample:\n  safeconvert batch models.toml --jobs 4",
    context_settings={"max_content_width": 110},
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.toml")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write OUTPUT.json and OUTPUT.html.")
@_backend_options
@options("junit", "as_json", "quiet", "verbose")
def batch(
    file: Path,
    output: Path | None,
    backend: str,
    scheduler: str | None,
    jobs: int | None,
    junit: Path | None,
    **show: bool,
) -> None:
    """Convert the models that FILE.toml lists; what is done already is not done again."""

    def run() -> int:
        from ..batch.backends import Backend
        from .machine_outputs import MachineOutputs
        from .many_models import run_batch

        outputs = MachineOutputs(f"batch {file}", junit)
        return run_batch(file, output, Backend(backend, scheduler, jobs), outputs, **show)

    sys.exit(exit_code_of(run, verbose=show["verbose"]))


@cli.command(
    epilog="\b\nExample:\n  safeconvert matrix model.pt2 --images photos/ -o matrix",
    context_settings={"max_content_width": 110},
)
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("matrix"), show_default=True, metavar="FOLDER",
    help="Folder for the Targets, matrix.json and matrix.svg.",
)  # fmt: skip
@_backend_options
@options(*(n for n in OPTIONS if n not in NOT_IN_MATRIX))
def matrix(
    models: tuple[Path, ...], output: Path, backend: str, scheduler: str | None, jobs: int | None, **arguments: Any
) -> None:
    """Convert each model to every format that can be reached, and show how many predictions change."""
    show = {name: arguments.pop(name) for name in ("as_json", "quiet", "verbose")}
    keywords = {name: value for name, value in as_keywords(arguments).items() if value is not None}

    def run() -> int:
        from ..batch.backends import Backend
        from .many_models import run_matrix

        return run_matrix(models, output, keywords, Backend(backend, scheduler, jobs), **show)

    sys.exit(exit_code_of(run, verbose=show["verbose"]))


@cli.command()
@click.argument("source", type=click.Choice(FORMAT_NAMES), required=False)
@click.argument("target", type=click.Choice(FORMAT_NAMES), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def routes(source: str | None, target: str | None, as_json: bool) -> None:
    """Show the chains of converters between two formats, in the order tried."""
    from .listings import routes_as_json, show_routes

    def show() -> None:
        if as_json:
            click.echo(json.dumps(routes_as_json(source, target), indent=1))
        else:
            show_routes(source, target)

    sys.exit(exit_code_of(show, verbose=False))


@cli.command()
@click.argument("word", default="")
def presets(word: str) -> None:
    """Show the names of --preprocess, those that contain WORD, and what they do to an image."""
    from .listings import show_presets

    sys.exit(exit_code_of(lambda: show_presets(word), verbose=False))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show what is installed, what works with it, and what to install."""
    from .doctor import diagnose, show

    diagnosis = diagnose()
    if as_json:
        click.echo(json.dumps(diagnosis, indent=1))
    else:
        show(diagnosis)


@cli.group()
def env() -> None:
    """Separate environments for converters whose pinned dependencies conflict with the others."""


@env.command("list")
def env_list() -> None:
    """Show the environments and whether they are installed."""
    from .listings import show_environments

    show_environments()


@env.command("install")
@click.argument("name")
def env_install(name: str) -> None:
    """Make the environment NAME, as `safeconvert env list` shows it, in the user's cache folder."""
    sys.exit(exit_code_of(lambda: _install(name), verbose=False))


def _install(name: str) -> None:
    from ..converters import ENVIRONMENTS
    from ..workers.environments import folder, install

    if name not in ENVIRONMENTS:
        raise BadInput(f"there is no environment {name!r}. Known: {', '.join(ENVIRONMENTS)}.")
    click.echo(f"installing {name} in {folder(name)} (some minutes, under a gigabyte) ...", err=True)
    click.echo(f"{name} {install(ENVIRONMENTS[name])} is installed.")


@cli.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-output"), show_default=True
)
@click.option("-q", "--quiet", is_flag=True)
@click.option("-v", "--verbose", is_flag=True)
def demo(output: Path, quiet: bool, verbose: bool) -> None:
    """Convert a real pretrained ImageNet model from PyTorch to Keras and TFLite, on real photos."""
    from .demo import run

    sys.exit(exit_code_of(lambda: run(output, quiet=quiet, verbose=verbose), verbose=verbose))


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
