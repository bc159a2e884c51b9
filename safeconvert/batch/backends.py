"""Where tasks run: joblib's backends, by name. Loky starts processes here; Dask and Ray have workers elsewhere too."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput

BACKEND_NAMES = ("loky", "dask", "ray")
MODULES = {"dask": "distributed", "ray": "ray"}
CORES_PER_TASK = 2  # Source and Target, or a converter beside the Source


@dataclass(frozen=True)
class Backend:
    """A backend of joblib, the address of its scheduler and how many tasks it runs at a time (None: as many as fit).

    Raises :class:`BadInput` where its package is not installed, or an address is missing or means nothing.
    """

    name: str = "loky"
    scheduler: str | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.name not in BACKEND_NAMES:
            raise BadInput(f"--backend {self.name} is not one of {', '.join(BACKEND_NAMES)}.")
        if self.jobs is not None and self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs} is below 1.")
        if self.name == "loky" and self.scheduler is not None:
            raise BadInput("--scheduler is for --backend dask or ray. Give one of these too.")
        module = MODULES.get(self.name)
        if module is not None and importlib.util.find_spec(module) is None:
            raise BadInput(f"--backend {self.name} needs {module}. Run: pip install 'safeconvert[{self.name}]'")
        if self.name == "dask" and self.scheduler is None:
            raise BadInput("--backend dask needs --scheduler ADDRESS, such as tcp://127.0.0.1:8786.")

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call the function with each tuple of arguments in the backend's workers; return the results in order.

        The function and its arguments are pickled. Raises whatever the backend raises where it loses a worker.
        """
        import joblib

        with self._chosen():
            parallel = joblib.Parallel(n_jobs=self._jobs(), batch_size=1, pre_dispatch="all")
            return list(parallel(joblib.delayed(function)(*each) for each in arguments))

    def _jobs(self) -> int:
        if self.jobs is not None:
            return self.jobs
        return max(1, (os.cpu_count() or 1) // CORES_PER_TASK) if self.name == "loky" else -1

    @contextlib.contextmanager
    def _chosen(self) -> Iterator[None]:
        """Make joblib use this backend inside of the block."""
        import joblib

        with contextlib.ExitStack() as stack:
            if self.name == "ray":
                stack.enter_context(self._ray())
            settings = {"scheduler_host": self.scheduler} if self.name == "dask" else {}
            stack.enter_context(joblib.parallel_config(backend=self.name, **settings))
            yield

    @contextlib.contextmanager
    def _ray(self) -> Iterator[None]:
        """Connect to the cluster, or start one on this machine, for the length of the block."""
        import ray
        from ray.util.joblib import register_ray

        with contextlib.redirect_stdout(sys.stderr):  # Ray prints what its workers meet on standard output
            ray.init(address=self.scheduler, log_to_driver=False)
            register_ray()
            try:
                yield
            finally:
                ray.shutdown()
