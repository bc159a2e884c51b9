"""What the terminal shows besides the summary: progress where it is asked for, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safeconvert.cli.terminal import Terminal


def test_what_is_done_is_said_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        terminal.say("loading [bold]model")
        terminal.progress("running", 3, 8)
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == ("", "")
    with Terminal(verbose=True) as terminal:
        terminal.say("loading [bold]model")
    assert "loading [bold]model" in capsys.readouterr().err


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "safeconvert", "--version"], capture_output=True, text=True, check=True
    )
    assert "safeconvert" in done.stdout
