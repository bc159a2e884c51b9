"""Of a converter that crashed, the first node of each kind is tried alone; converters without a script are not."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
from safeconvert.converters import HOPS

from safeconvert.conversion.crash_nodes import crashes
from safeconvert.workers.pool import WorkerPool
from tests.support.pool_nets import average_pool, max_pool, net

TRIED = next(hop for hop in HOPS if hop.script is not None)
NOT_SHOWN = next(hop for hop in HOPS if hop.script is None)


def search(workers: WorkerPool, path: Path, hop: Any, asked: list[Sequence[str]], *, has_time: bool = True) -> Any:
    """A search in which the hop crashed on the file, as its first attempt."""

    def failing_nodes(attempt: int, stage: Any, hop: Any, nodes: Sequence[str], rows: Any) -> tuple[int, Sequence[str]]:
        asked.append(nodes)
        return attempt, nodes

    stage = SimpleNamespace(mapping=("x",), model=SimpleNamespace(location=str(path)))
    time = SimpleNamespace(allows=lambda: has_time, running=contextlib.nullcontext)
    hop_runner = SimpleNamespace(
        workers=workers, timeout=60.0, repair_time=time, has_permuted_inputs=lambda stage: False
    )
    return SimpleNamespace(
        attempt_runner=SimpleNamespace(crashed={0: (stage, hop)}, changes={}),
        hop_runner=hop_runner,
        node_localization=SimpleNamespace(failing_nodes=failing_nodes),
        rows=lambda stage, chosen: [],
        attempts=[],
    )


def test_the_first_node_of_each_kind_is_tried_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    pools = average_pool("c", "a", "uneven"), max_pool("a", "q", "padded"), max_pool("q", "m", "padded_again")
    onnx.save(net(*pools), path)
    asked: list[Sequence[str]] = []
    with WorkerPool() as workers:
        (crash,) = crashes(search(workers, path, TRIED, asked), None)
        assert crash == (0, ["conv", "uneven", "padded", "pool_all", "flatten", "classes"])  # type: ignore[comparison-overlap]
        assert crashes(search(workers, path, NOT_SHOWN, asked), None) == []
        assert crashes(search(workers, path, TRIED, asked, has_time=False), None) == []
        path.write_bytes(b"no model")
        assert crashes(search(workers, path, TRIED, asked), None) == []
    assert len(asked) == 1
