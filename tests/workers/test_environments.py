"""Environments of their own: when they count as installed, and what is said where one cannot be made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from safeconvert.errors import BadInput
from safeconvert.workers import environments
from safeconvert.workers.environments import Recipe, find_python, install, installed_version, interpreter


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))


def test_an_environment_counts_once_it_is_installed_whole() -> None:
    python = environments.folder("tool") / "bin" / "python"
    assert (interpreter("tool"), installed_version("tool")) == (None, None)
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter("tool") is None
    record = environments.folder("tool") / "installed.json"
    record.write_text("{")
    assert installed_version("tool") is None
    record.write_text(json.dumps({"version": "1.2"}))
    assert (interpreter("tool"), installed_version("tool")) == (str(python), "1.2")


def test_this_python_is_taken_where_it_is_new_enough() -> None:
    assert find_python((3, 8)) == sys.executable
    assert find_python((4, 0)) is None


def test_a_recipe_that_no_python_here_can_run_is_refused() -> None:
    recipe = Recipe("tool", (((4, 1), ("tool==2",)), ((4, 0), ("tool==1",))), "for this test")
    with pytest.raises(BadInput, match=r"tool needs Python 4\.0 or newer"):
        install(recipe)
    assert not environments.folder("tool").exists()


def test_what_pip_says_is_passed_on(tmp_path: Path) -> None:
    missing = tmp_path / "no_such_package-1.0-py3-none-any.whl"
    recipe = Recipe("tool", (((3, 8), (str(missing),)),), "for this test")
    with pytest.raises(BadInput, match=r"the environment tool could not be made: .*ERROR"):
        install(recipe)
    assert interpreter("tool") is None
