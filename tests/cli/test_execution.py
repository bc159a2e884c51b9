"""How a command ends: the exit code and the line for each kind of error, and options as keywords."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from safeconvert.cli.execution import as_keywords, exit_code_of
from safeconvert.cli.pair_commands import PAIRS, pair_command
from safeconvert.errors import BadInput
from safeconvert.formats import format_named


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("give a folder"), 2, "error: give a folder"),
        (FileNotFoundError(2, "No such file", "x.onnx"), 2, "error: x.onnx: No such file"),
        (KeyboardInterrupt(), 130, "interrupted: no model was written"),
        (ValueError("a defect\nmore"), 3, "error: unexpected ValueError: a defect"),
    ],
)
def test_an_error_becomes_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(raising(error), verbose=False) == code
    shown = capsys.readouterr().err
    assert shown.splitlines()[0] == line
    assert "Traceback" not in shown


def test_a_traceback_is_shown_where_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(ValueError("a defect")), verbose=True) == 3
    assert "Traceback" in capsys.readouterr().err


def test_the_code_of_a_run_is_the_exit_code() -> None:
    assert exit_code_of(lambda: None, verbose=False) == 0
    assert exit_code_of(lambda: 4, verbose=False) == 4


def test_options_that_may_be_repeated_become_dicts() -> None:
    assert as_keywords({"input_shape": (("x", (1, 2)),), "seed": 3}) == {"input_shape": {"x": (1, 2)}, "seed": 3}


def test_each_pair_of_formats_has_a_command() -> None:
    assert len(PAIRS) == len(set(PAIRS)) == 20
    assert pair_command(format_named("torch"), format_named("keras")).name == "torch2keras"
