"""How a command is carried out: its options as keywords, its result shown, its errors as lines and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from ..errors import BadInput
from .arguments import take_output


def run_command(work: Callable[..., Any], arguments: dict[str, Any], *, is_output_required: bool = False) -> None:
    """Run ``work`` with the options given, show its result, and exit with its code."""
    as_json, quiet, verbose = arguments.pop("as_json"), arguments.pop("quiet"), arguments.pop("verbose")
    path = take_output(arguments, is_required=is_output_required)
    files = {name: arguments.pop(name, None) for name in ("junit", "node_data")}
    arguments = as_keywords(arguments)
    name = _case_name(click.get_current_context())

    def run() -> int:
        from .machine_outputs import MachineOutputs
        from .terminal import Terminal

        outputs = MachineOutputs(name, **files)
        outputs.check()
        terminal = Terminal(quiet=quiet or as_json, verbose=verbose)
        with outputs.watching(), terminal:
            result = work(terminal, path, **arguments)
        outputs.write_report(result.report)
        if verbose and result.traceback:
            click.echo(result.traceback, err=True)
        if as_json:
            click.echo(json.dumps(result.report, indent=1))
        elif not quiet:
            terminal.summary(result)
        return int(result.exit_code)

    sys.exit(exit_code_of(run, verbose=verbose))


def _case_name(context: click.Context) -> str:
    """Return what JUnit calls a run: the command and its models."""
    models = [str(context.params[name]) for name in ("model", "source", "target") if name in context.params]
    return " ".join([str(context.info_name), *models])


def as_keywords(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as keywords of the Python functions: those that may be repeated become dicts."""
    repeated = ("input_shape", "batch_axis", "output_kind", "class_axis", "max_error")
    return {name: dict(value) if name in repeated else value for name, value in arguments.items()}


def exit_code_of(run: Callable[[], int | None], *, verbose: bool) -> int:
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
