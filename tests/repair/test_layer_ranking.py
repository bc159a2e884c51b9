"""Operators named with --core-layers are checked against ONNX's own before anything else is done."""

from __future__ import annotations

import pytest
from safeconvert.repair.layer_ranking import check_core_layers

from safeconvert.errors import BadInput
from safeconvert.options import Options
from safeconvert.workers.pool import WorkerPool


def test_an_operator_that_onnx_lacks_is_refused_with_similar_names() -> None:
    with WorkerPool() as workers:
        check_core_layers(workers, Options())
        check_core_layers(workers, Options.of({"ranking": "kruskal", "core_layers": ("Conv", "MatMul")}))
        with pytest.raises(BadInput, match=r"--core-layers Covn: .*Did you mean .*Conv"):
            check_core_layers(workers, Options.of({"ranking": "kruskal", "core_layers": ("Conv", "Covn")}))
        with pytest.raises(BadInput, match="Name them as ONNX does"):
            check_core_layers(workers, Options.of({"ranking": "kruskal", "core_layers": ("0123456789",)}))
