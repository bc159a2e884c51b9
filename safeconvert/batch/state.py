"""The state folder of a batch: a record of each conversion that is done, by the hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..models.detect import detect
from ..models.model_digest import model_digest, sha256
from .plan import Conversion

FILE_OPTIONS = ("images", "inputs", "labels", "preprocess", "target_preprocess")
NOT_IN_KEY = ("force",)


def key_of(conversion: Conversion, digests: dict[Path, str]) -> str:
    """Return the hash of the model, the options, the contents of the files that they name, and safeconvert's version.

    ``digests`` keeps the hashes of paths that several conversions share.
    """
    options = {name: value for name, value in conversion.options.items() if name not in NOT_IN_KEY}
    for name in FILE_OPTIONS:
        if name in options and (path := Path(options[name])).exists():
            options[name] = digests.get(path) or digests.setdefault(path, sha256(path))
    content = {
        "model": model_digest(detect(conversion.model)),
        "to": conversion.to,
        "output": str(conversion.output),
        "options": options,
        "version": metadata.version("safeconvert"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class StateFolder:
    """Records and a log in one folder, which every machine that takes part must be able to write."""

    path: Path

    def finished(self, key: str) -> dict[str, Any] | None:
        """Return the record of a conversion that has a verdict; None where it is to be done.

        It is to be done again where the Target that it wrote was changed or removed since.
        """
        record = self.record(key)
        if record is None or record["verdict"] is None:
            return None
        if record["target"] is None:
            return record
        target = Path(record["target"])
        is_there = target.exists() and model_digest(detect(target)) == record["target_sha256"]
        return record if is_there else None

    def record(self, key: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.path / f"{key}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Write the record, whole or not at all; what stands at the output is the person's from then on."""
        partial = self.path / f"{key}.{socket.gethostname()}.{os.getpid()}.partial"
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path / f"{key}.json")
        self._marker(key).unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        (self.path / f"{key}.json").unlink(missing_ok=True)

    def log(self, event: str, key: str, name: str) -> None:
        """Add a line to ``log.jsonl``: what was started or finished, when, and by which process."""
        entry = {"event": event, "key": key, "name": name, "time": time.time()}
        entry |= {"host": socket.gethostname(), "pid": os.getpid()}
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def was_started(self, key: str) -> bool:
        """Did a run of this conversion begin to write at its output, perhaps to be lost with its worker?"""
        return self._marker(key).exists()

    def mark_started(self, key: str) -> None:
        self._marker(key).touch()

    def _marker(self, key: str) -> Path:
        return self.path / f"{key}.started"

    @contextmanager
    def sole_worker(self, key: str) -> Iterator[None]:
        """Hold this conversion; waits for a worker that is at it. The lock ends with the process that holds it."""
        with FileLock(self.path / f"{key}.lock"):
            yield
