"""How a command is carried out: its options as keywords, its result shown, its errors as lines and exit codes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from ..errors import BadInput, collecting, refuse
from .all_mistakes import usage_mistakes
from .arguments import take_output


def run_command(
    check: Callable[..., None], work: Callable[..., Any], arguments: dict[str, Any], *, is_output_required: bool = False
) -> None:
    """Run ``work`` with the options, show its result, and exit with its code.

    ``check`` raises :class:`BadInput` for options that ``work`` cannot use; it must do without frameworks.
    """
    context = click.get_current_context()
    wrong = usage_mistakes(context)
    as_json, quiet, verbose = arguments.pop("as_json"), arguments.pop("quiet"), arguments.pop("verbose")
    path = None
    try:
        path = take_output(arguments, is_required=is_output_required)
    except click.UsageError as error:
        wrong.append(error.format_message())
    files = {name: arguments.pop(name, None) for name in ("junit", "node_data")}
    arguments = as_keywords(arguments)
    name = _case_name(context)

    wrong_files: list[str] = []  # those for machines, which then are told nothing

    def run() -> int:
        from .machine_outputs import MachineOutputs
        from .terminal import Terminal

        outputs = MachineOutputs(name, **files)
        with collecting(wrong_files):
            outputs.check()
        with contextlib.nullcontext() if wrong_files else outputs.watching():
            _refuse_all(context.command_path, wrong, wrong_files, lambda: check(path, **_valid(arguments, wrong)))
        terminal = Terminal(quiet=bool(quiet or as_json), verbose=bool(verbose))
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


def _refuse_all(command: str, wrong: Sequence[str], wrong_files: Sequence[str], check: Callable[[], None]) -> None:
    """Raise :class:`BadInput` with what is wrong in the command line and what the check says."""
    mistakes = [*wrong, *wrong_files]
    with collecting(mistakes):
        check()
    try:
        refuse(list(dict.fromkeys(mistakes)))
    except BadInput as error:
        if wrong:
            raise BadInput(f"{error}\nTry: {command} --help", error.mistakes) from error
        raise


def _valid(arguments: Mapping[str, Any], wrong: Sequence[str]) -> dict[str, Any]:
    """Return the options without those that have no value because the one in the command line is wrong."""
    return {name: value for name, value in arguments.items() if value is not None or not wrong}


def _case_name(context: click.Context) -> str:
    """Return what JUnit calls a run: the command and its models."""
    models = [str(context.params[name]) for name in ("model", "source", "target") if name in context.params]
    return " ".join([str(context.info_name), *models])


def as_keywords(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as keywords of the Python functions: those that may be repeated become dicts."""
    repeated = ("input_shape", "batch_axis", "output_kind", "class_axis", "max_error")
    return {name: dict(value or ()) if name in repeated else value for name, value in arguments.items()}


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
