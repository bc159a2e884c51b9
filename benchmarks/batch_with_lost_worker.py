"""Run ``safeconvert batch`` on eight small models while one of its two workers is killed; print what came of it.

    python -m benchmarks.batch_with_lost_worker dask|ray|loky

Dask: a scheduler and two worker processes without nannies. Ray: a cluster of its own on this machine with two
processors. The worker that begins the third conversion is killed half-way through it. Exit code 1 where a model is left
out, done twice, or not verified.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from tests.conftest import conv_net

MODELS = 8
KILLED_AT = 3  # the conversion, counted by their starts, whose worker is killed
SECONDS_INTO_IT = 2.0


def events(folder: Path) -> list[dict[str, Any]]:
    log = folder / "models.batch.state" / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def save_models(folder: Path) -> None:
    entries = []
    for index in range(MODELS):
        onnx.save(conv_net("labels", 1.0 + 0.1 * index), folder / f"net{index}.onnx")
        entries.append(f'[[convert]]\nmodel = "net{index}.onnx"\nto = "torch"\n')
    (folder / "models.toml").write_text("".join(entries))


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[str]:
    """Yield the address of a scheduler with two workers."""
    address_file = folder / "scheduler.json"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen([*command, "--scheduler-file", str(address_file)], **quiet)]
    try:
        while not address_file.exists():
            time.sleep(0.1)
        address = json.loads(address_file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        processes += [subprocess.Popen([*worker, "--no-dashboard"], **quiet) for _ in range(2)]
        yield address
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def watch(folder: Path, process: subprocess.Popen[str]) -> int | None:
    """Kill the worker that is at the conversion ``KILLED_AT``; return its process id."""
    while process.poll() is None:
        starts = [event for event in events(folder) if event["event"] == "started"]
        if len(starts) >= KILLED_AT:
            time.sleep(SECONDS_INTO_IT)
            pid = int(starts[KILLED_AT - 1]["pid"])
            os.kill(pid, signal.SIGKILL)
            return pid
        time.sleep(0.1)
    return None


def measure(backend: str, folder: Path) -> dict[str, Any]:
    save_models(folder)
    words = ["batch", "models.toml", "--backend", backend, "--jobs", "2", "--json"]
    with contextlib.ExitStack() as stack:
        if backend == "dask":
            words += ["--scheduler", stack.enter_context(dask_cluster(folder))]
        begun = time.monotonic()
        command = [sys.executable, "-m", "safeconvert", *words]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        killed = watch(folder, process)
        out, _ = process.communicate()
    finished = collections.Counter(event["key"] for event in events(folder) if event["event"] == "finished")
    started = collections.Counter(event["key"] for event in events(folder) if event["event"] == "started")
    try:
        summary = json.loads(out)
    except json.JSONDecodeError as error:
        raise SystemExit(
            f"exit code {process.returncode}, killed {killed}, events {events(folder)}, output {out!r}"
        ) from error
    return {
        "backend": backend,
        "counts": summary["counts"],
        "exit_code": process.returncode,
        "killed": killed,
        "workers": sorted({event["pid"] for event in events(folder)}),
        "finished_once": sum(count == 1 for count in finished.values()),
        "finished_twice": sum(count > 1 for count in finished.values()),
        "started_again": sum(count > 1 for count in started.values()),
        "reports": len(list(folder.glob("models.batch.json"))),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = measure(sys.argv[1], Path(folder))
    print(json.dumps(result, indent=1))
    is_good = result["counts"] == {"verified": MODELS} and result["finished_once"] == MODELS and result["killed"]
    sys.exit(0 if is_good and result["started_again"] else 1)


if __name__ == "__main__":
    main()
