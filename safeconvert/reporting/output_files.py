"""Give files their final names: whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from ..errors import BadInput
from ..models.detect import printable
from ..models.model_digest import sha256
from ..records import Verdict
from ..workers.pool import WorkerPool, remove

REPORTS = ("json", "html")
LONGEST = 230  # bytes of the file's name: the report's endings and a hidden partial file fit into 255

BESIDE_TARGET = re.compile(r"\.report\.(json|html)$|\.input\.json$|\.test\.npz$|\.(fault-F|crash-)\d+\.(onnx|npz)$")


def check_output(output: Path, *, force: bool) -> None:
    """Refuse an output path before any work is done for it. Raises :class:`BadInput`."""
    parent = output.parent
    if not output.name:
        raise BadInput(f"--output: {output} is no file name. Give the path of the file to write.")
    if (shown := printable(output)) != str(output):
        raise BadInput(f"--output: the path {shown} is not UTF-8. Choose another path with -o.")
    if len(os.fsencode(output.name)) > LONGEST:
        raise BadInput(
            f"--output: the name {output.name[:40]}... is longer than {LONGEST} bytes. Choose a shorter one."
        )
    try:
        _check_place(output, parent, force=force)
    except OSError as error:
        raise BadInput(
            f"--output: {output} cannot be used: {error.strerror or error}. Choose another path with -o."
        ) from error


def _check_place(output: Path, parent: Path, *, force: bool) -> None:
    if not parent.is_dir():
        raise BadInput(f"--output: the folder {parent} does not exist. Make it first, or choose another path.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BadInput(f"--output: the folder {parent} is not writable. Choose another path with -o.")
    with tempfile.TemporaryFile(dir=parent):
        pass  # permissions do not say whether a file can be made: /proc has none that forbid it
    if output.is_dir() and any(output.iterdir()) and not (output / "saved_model.pb").is_file():
        # --force replaces a model, never somebody's folder of other things.
        raise BadInput(f"--output: {output} is a folder with other things in it. Give the path of the file to write.")
    refuse_special_file(output)
    for form in REPORTS:
        refuse_special_file(output.with_name(f"{output.name}.report.{form}"))
    if output.exists() and not force:
        raise BadInput(f"{output} exists already. Pass --force to replace it, or choose another path with -o.")


def refuse_special_file(path: Path) -> None:
    """Refuse a device, pipe or socket: replacing it would remove it, and --force is for models. Follows links."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    kinds = {stat.S_ISCHR: "device", stat.S_ISBLK: "device", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = next((name for is_kind, name in kinds.items() if is_kind(mode)), "special file")
        raise BadInput(f"--output: {path} is a {kind}, no regular file or folder. Choose another path with -o.")


@contextmanager
def sole_writer(output: Path) -> Iterator[None]:
    """Hold the output path for this run; a second run on it is refused. The lock ends with the process."""
    folder = Path(platformdirs.user_cache_dir("safeconvert")) / "locks"
    lock = FileLock(folder / hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:32])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout):
            raise BadInput(
                f"another safeconvert run is writing {output}. Wait for it, or choose another path with -o."
            ) from error
        raise BadInput(
            f"{folder} cannot be written: {error.strerror or error}. Set XDG_CACHE_HOME to another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def put(workers: WorkerPool, scratch_path: Path, final: Path) -> None:
    """Copy ``scratch_path`` next to ``final`` and rename it: under the final name it is whole or not there.

    What stood there is replaced. Raises :class:`BadInput` where the disk is full or not writable.
    """
    refuse_special_file(final)
    hidden = f".{final.name[:40]}.{os.getpid()}"
    partial = final.parent / f"{hidden}.partial"
    with workers.temporary_file(partial):
        try:
            if scratch_path.is_dir():
                shutil.copytree(scratch_path, partial)
            else:
                shutil.copyfile(scratch_path, partial)
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
            if sha256(partial) != sha256(scratch_path):
                raise BadInput(f"{final} could not be written: the copy differs from what was checked.")
            if final.is_dir() and not final.is_symlink():
                # A folder cannot be replaced in one step: the old one steps aside first.
                aside = final.parent / f"{hidden}.old"
                with workers.temporary_file(aside):
                    final.rename(aside)
                    partial.rename(final)
            else:
                partial.replace(final)
        except OSError as error:
            raise BadInput(
                f"{final} cannot be written: {error.strerror or error}. Choose another path with -o."
            ) from error


def put_text(workers: WorkerPool, text: str, final: Path) -> None:
    """The same for a small text file."""
    scratch_path = workers.scratch(final.name)
    try:
        scratch_path.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of images may be any bytes
    except OSError as error:
        raise BadInput(f"{scratch_path} cannot be written: {error.strerror or error}.") from error
    put(workers, scratch_path, final)


def set_aside(output: Path) -> Path | None:
    """Move what stands at ``output`` to ``<stem>.previous.<ext>``: nothing unverified may stand there."""
    if not output.exists():
        return None
    previous = named(output, "previous")
    remove(previous)
    output.rename(previous)
    return previous


def named(output: Path, word: str) -> Path:
    """``model.keras`` -> ``model.<word>.keras``; a name without suffix gets the word at its end."""
    return output.with_name(f"{output.stem}.{word}{output.suffix}")


@contextmanager
def together() -> Iterator[list[Path]]:
    """Files written one after another that mean nothing without the last: if that fails, those listed are removed."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            remove(path)
        raise


PURPOSES = {
    ".report.json": "the report, for programs",
    ".report.html": "the report, for people",
    ".input.json": "how images must be prepared for the Target, what it gives, and code that runs it",
    ".test.npz": "a test vector: one input and what the Target gives for it",
    ".onnx": "a node at fault, as an ONNX model of its own",
    ".npz": "inputs that show the fault",
}
"""What the files beside a Target are for, by the end of their names."""


def purpose(path: Path, verdict: Verdict) -> str:
    """Return what a file that a run wrote is for; ``verdict`` is the run's."""
    if BESIDE_TARGET.search(path.name):
        return next(words for ending, words in PURPOSES.items() if path.name.endswith(ending))
    if verdict in (Verdict.VERIFIED, Verdict.REPAIRED):
        return f"the Target, {verdict.value}"
    return "the Target, which is not verified; kept for inspection"
