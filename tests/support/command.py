"""The ``safeconvert`` command, run as a user runs it, and scripts that make models in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.warm_processes import PRELOADED, run_code, run_script, zygote

COMMAND = Path(sys.executable).with_name("safeconvert")
WARM_COMMAND = f"""
import atexit, json, sys
sys.path = [{str(Path(__file__).parents[2])!r}, *filter(None, sys.path)]
from tests.support.warm_processes import use_warm_workers
use_warm_workers(json.loads(sys.argv.pop(1)))
del sys.path[0]
sys.argv[0] = "safeconvert"
from safeconvert.cli.main import main
try:
    main()
finally:
    atexit._run_exitfuncs()
"""


@dataclass(frozen=True)
class Done:
    """What a finished command said."""

    code: int
    out: str
    err: str


def environment(temporary: Path, **more: str) -> dict[str, str]:
    """The user's environment, with the scratch folders of runs in ``temporary``, where they can be looked for."""
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(temporary), "COLUMNS": "200", **more}


def installed_safeconvert(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> Done:
    """Run the installed command as a user would, in ``folder``."""
    return run_command([COMMAND], arguments, folder, env, timeout)


def safeconvert(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> Done:
    """Run the command in ``folder`` with workers that have imported their framework already (see warm_processes).

    The command's own process is a copy of one that has imported safeconvert. With ``env``, variables that an
    interpreter may read as it starts, it is a fresh one.
    """
    sockets = json.dumps({framework: zygote(framework) for framework in PRELOADED})
    if env:
        return run_command([sys.executable, "-P", "-c", WARM_COMMAND, sockets], arguments, folder, env, timeout)
    temporary = folder.parent / f"{folder.name}-tmp"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = run_code(
            "command",
            WARM_COMMAND,
            folder,
            (sockets, *map(str, arguments)),
            environment(temporary),
            (out, err),
            timeout,
        )
        _check_left_nothing(temporary)
        return Done(code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _check_left_nothing(temporary: Path) -> None:
    assert not list(temporary.iterdir()), f"left in TMPDIR: {list(temporary.rglob('*'))[:5]}"


def run_command(
    command: Sequence[str | Path],
    arguments: Sequence[str | Path],
    folder: Path,
    env: Mapping[str, str] | None,
    timeout: float,
) -> Done:
    """Run the command to its end; whatever happens, its scratch folders must be gone. ``timeout`` is in seconds."""
    temporary = folder.parent / f"{folder.name}-tmp"
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**environment(temporary), **(env or {})},
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    _check_left_nothing(temporary)
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def made_by(script: str, folder: Path) -> Path:
    """Run ``script`` in ``folder``, in a process that has the framework that it imports."""
    run_script("torch" if "import torch" in script else "tensorflow", script, folder)
    (folder / "MARKER").unlink(missing_ok=True)  # Keras calls a Lambda when it is built
    return folder
