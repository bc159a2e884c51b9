"""Joblib's backends by name: what is missing is told before any work, and loky runs tasks in other processes."""

from __future__ import annotations

import importlib.util
import os

import pytest

from safeconvert.batch.backends import BACKEND_NAMES, Backend
from safeconvert.cli.arguments import BACKEND_OPTIONS
from safeconvert.cli.main import cli
from safeconvert.errors import BadInput


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("spark",), "not one of loky, dask, ray"),
        (("loky", "tcp://x:1"), "--scheduler is for"),
        (("loky", None, 0), "--jobs 0"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Backend(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_told_with_its_extra(name: str, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        with pytest.raises(BadInput, match=rf"pip install 'safeconvert\[{name}\]'"):
            Backend(name, "tcp://127.0.0.1:1")
    elif name == "dask":
        with pytest.raises(BadInput, match="needs --scheduler"):
            Backend(name)


def test_loky_runs_in_other_processes() -> None:
    pids = Backend("loky", None, 2).run(os.getpid, [(), ()])
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_the_command_line_offers_all_backends() -> None:
    assert len(BACKEND_OPTIONS) == 3
    for command in ("batch", "matrix"):
        (option,) = [option for option in cli.commands[command].params if option.name == "backend"]
        assert tuple(option.type.choices) == BACKEND_NAMES  # type: ignore[attr-defined]
