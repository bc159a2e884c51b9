"""Of nodes that are alike in operator, settings and number of inputs, the first stands for all."""

from __future__ import annotations

from pathlib import Path

import onnx
from safeconvert.repair.localization.node_replay import kinds

from tests.support.pool_nets import average_pool, max_pool, net


def test_the_first_node_of_each_kind_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "net.onnx")
    pools = average_pool("c", "a", "uneven"), max_pool("a", "q", "padded"), max_pool("q", "m", "padded_again")
    onnx.save(net(*pools), path)
    assert kinds(path) == ["conv", "uneven", "padded", "pool_all", "flatten", "classes"]
    assert kinds(path, ["padded_again", "classes"]) == ["padded_again", "classes"]
    assert kinds(path, []) == []
