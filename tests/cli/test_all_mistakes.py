"""A command that is run with wrong values: it is told of all of them, and its help stays what it was."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from safeconvert.cli.all_mistakes import Command, usage_mistakes


@click.command(cls=Command)
@click.argument("model")
@click.option("--count", type=int, default=3, help="How many.")
@click.option("--kind", type=click.Choice(["a", "b"]), default="a")
def command(model: str, count: int | None, kind: str | None) -> None:
    """Do something."""
    wrong = usage_mistakes(click.get_current_context())
    click.echo(f"{model} {count} {kind} {len(wrong)}")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["m"], "m 3 a 0"),
        (["m", "--count", "x"], "m None a 1"),
        (["m", "--count", "x", "--kind", "c"], "m None None 2"),
        (["--help"], "Do something."),
    ],
)
def test_wrong_values_are_none_and_told(words: list[str], shown: str) -> None:
    done = CliRunner().invoke(command, words)
    assert (done.exit_code, shown in done.output) == (0, True), done.output


@pytest.mark.parametrize("words", [["--count", "x"], ["m", "n", "--count", "x"]])
def test_a_command_without_its_model_or_with_more_words_is_not_run(words: list[str]) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2
    assert "--count" in done.output
    assert ("Missing argument 'MODEL'" in done.output) is (words[0] != "m")
    assert ("unexpected extra argument (n)" in done.output) is (words[0] == "m")
