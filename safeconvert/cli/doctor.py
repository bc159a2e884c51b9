"""``safeconvert doctor``: what is installed, whether it truly loads, and what to install."""

from __future__ import annotations

import itertools
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from ..conversion.routes import hops_between, missing, package_version, pairs, routes
from ..converters import ENVIRONMENTS
from ..errors import WorkerFailed
from ..models.loaded import EXTRAS, shorten
from ..reporting.document import PACKAGES
from ..workers.environments import installed_version
from ..workers.pool import PRELOADS, WorkerPool

RUNTIMES = {"torch": "torch", "tensorflow": "tensorflow", "onnx_tflite": "onnxruntime and LiteRT", "tvm": "Apache TVM"}


def diagnose() -> dict[str, Any]:
    """Versions, each runtime loaded for real in a child of its own, and which of the twenty pairs have a route."""
    with WorkerPool() as workers, ThreadPoolExecutor(len(PRELOADS)) as pool:
        wanted = [name for name in PRELOADS if name != "tvm" or package_version("apache-tvm")]
        children = {name: workers.worker(name, name) for name in wanted}
        pending = {name: pool.submit(_loads, worker, PRELOADS[name]) for name, worker in children.items()}
        runtimes = {name: future.result() for name, future in pending.items()}
    runtimes.setdefault("tvm", "not installed (optional): pip install 'safeconvert[tvm]'")
    packages = {name: package_version(name) or None for name in PACKAGES}
    lacking = [f"{a}2{b}" for a, b in pairs() if not _has_route(a, b)]
    advice = sorted({
        f"pip install 'safeconvert[{EXTRAS[name.replace('-', '_')]}]'"
        for name, found in packages.items()
        if found is None and name.replace("-", "_") in EXTRAS and name != "apache-tvm"
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


def _loads(worker: Any, module: str) -> str:
    """ "ok", or why the runtime does not load."""
    try:
        worker.call(module, "load", timeout=120, path="", flavour="none")
    except WorkerFailed as error:
        kind = getattr(error, "kind", "")
        return shorten(str(error)) if kind in ("ModuleNotFoundError", "ImportError", "") else "ok"
    return "ok"


def _has_route(source: str, target: str) -> bool:
    return any(
        all(
            any(missing(hop) is None for hop in hops_between(x, y, last=index == len(path) - 2))
            for index, (x, y) in enumerate(itertools.pairwise(path))
        )
        for path in routes(source, target)
    )


def show(found: dict[str, Any]) -> None:
    """Print the diagnosis as tables."""
    console = Console(highlight=False)
    console.print(f"Python {found['python']} on {found['platform']}")
    table = Table("package", "version", box=None, pad_edge=False)
    for name, version in found["packages"].items():
        table.add_row(name, version or "not installed")
    console.print(table)
    for name, state in found["runtimes"].items():
        console.print(f"{RUNTIMES[name]}: {state}", markup=False)
    for name, version in found["environments"].items():
        console.print(
            f"environment {name}: {version or f'not installed (optional): safeconvert env install {name}'}",
            markup=False,
        )
    lacking = found["pairs_without_route"]
    console.print(
        f"{20 - len(lacking)} of 20 pairs have a route" + (f"; without: {', '.join(lacking)}" if lacking else "")
    )
    for line in found["advice"]:
        console.print(f"to add what is missing: {line}", markup=False)
