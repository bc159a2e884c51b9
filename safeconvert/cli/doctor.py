"""``safeconvert doctor``: what is installed, whether it truly loads, and what to install."""

from __future__ import annotations

import itertools
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from ..conversion.routes import extra_of, hops_between, missing, package_version, pairs, routes
from ..converters import ENVIRONMENTS
from ..errors import WorkerFailed
from ..models.loaded_model import shorten
from ..records import NO_LOAD_OPTIONS
from ..reporting.document import PACKAGES
from ..workers.environments import installed_version
from ..workers.pool import Worker, WorkerPool
from ..workers.runtime import TVM, Runtime, runtimes_of_workers


def diagnose() -> dict[str, Any]:
    """Versions, each runtime loaded for real in a child of its own, and which of the twenty pairs have a route."""
    hosted = runtimes_of_workers()
    with WorkerPool() as workers, ThreadPoolExecutor(len(hosted)) as pool:
        wanted = [name for name in hosted if name != TVM.worker or package_version("apache-tvm")]
        running = {name: workers.worker(name, name) for name in wanted}
        pending = {name: pool.submit(_loads, worker, *hosted[name]) for name, worker in running.items()}
        runtimes = {name: future.result() for name, future in pending.items()}
    runtimes.setdefault(TVM.worker, "not installed (optional): pip install 'safeconvert[tvm]'")
    packages = {name: package_version(name) or None for name in PACKAGES}
    lacking = [f"{a}2{b}" for a, b in pairs() if not _has_route(a, b)]
    advice = sorted({
        f"pip install 'safeconvert[{extra}]'"
        for name, version in packages.items()
        if version is None and (extra := extra_of(name.replace("-", "_")))
    })  # fmt: skip
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": packages,
        "runtimes": runtimes,
        "environments": {name: installed_version(name) for name in ENVIRONMENTS},
        "pairs_without_route": lacking,
        "advice": advice,
    }


def _loads(worker: Worker, *runtimes: Runtime) -> str:
    """Load no model in each runtime; return "ok", or why one of them cannot be imported."""
    for runtime in runtimes:
        try:
            runtime.load(worker, 120, path="", flavour="none", options=NO_LOAD_OPTIONS)
        except WorkerFailed as error:
            if getattr(error, "kind", "") in ("ModuleNotFoundError", "ImportError", ""):
                return shorten(str(error))
    return "ok"


def _has_route(source: str, target: str) -> bool:
    return any(
        all(
            any(missing(hop) is None for hop in hops_between(x, y, last=index == len(path) - 2))
            for index, (x, y) in enumerate(itertools.pairwise(path))
        )
        for path in routes(source, target)
    )


def show(diagnosis: dict[str, Any]) -> None:
    """Print the diagnosis as tables."""
    console = Console(highlight=False)
    console.print(f"Python {diagnosis['python']} on {diagnosis['platform']}")
    table = Table("package", "version", box=None, pad_edge=False)
    for name, version in diagnosis["packages"].items():
        table.add_row(name, version or "not installed")
    console.print(table)
    hosted = runtimes_of_workers()
    for name, state in diagnosis["runtimes"].items():
        console.print(f"{' and '.join(runtime.name for runtime in hosted[name])}: {state}", markup=False)
    for name, version in diagnosis["environments"].items():
        console.print(
            f"environment {name}: {version or f'not installed (optional): safeconvert env install {name}'}",
            markup=False,
        )
    lacking = diagnosis["pairs_without_route"]
    console.print(
        f"{20 - len(lacking)} of 20 pairs have a route" + (f"; without: {', '.join(lacking)}" if lacking else "")
    )
    for line in diagnosis["advice"]:
        console.print(f"to add what is missing: {line}", markup=False)
