"""``--ranking kruskal``: the test of every element, its correction, the layers it ranks, and what the report says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from safeconvert.repair.localization import locate
from safeconvert.repair.statistics import input_groups, kruskal, layer_ranking
from safeconvert.repair.statistics.ranking_values import AlignedLayers, InputGroups, ViewInputs
from scipy import stats

from safeconvert.reporting.document import schema
from tests.support.command import made_by, safeconvert
from tests.support.keras_nets import AREA
from tests.support.pool_nets import average_pool
from tests.support.pool_nets import net as pooled
from tests.support.seeded_faults import broken, folded
from tests.support.seeded_nets import Array, Builder, inputs, net, settings, weights

SIMILAR = np.arange(24) % 3 > 0


# -- the statistic


@pytest.mark.parametrize("kind", ["no ties", "some ties", "two values"])
def test_the_statistic_is_that_of_scipy_for_every_element(kind: str) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(24, 300)).astype(np.float32)
    if kind != "no ties":
        values = np.round(values * 2) if kind == "some ties" else (values > 0.8).astype(np.float32)
    values = values[:, [len(set(column)) > 1 for column in values.T]]
    h = kruskal.statistic(values, SIMILAR)
    p, median = kruskal.probabilities(values, SIMILAR, [np.arange(24)])
    # scipy computes in the precision of what it is given; here it is always float64.
    expected = [stats.kruskal(column[SIMILAR], column[~SIMILAR]) for column in values.T.astype(float)]
    np.testing.assert_allclose(h, [test.statistic for test in expected], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(p, [test.pvalue for test in expected], rtol=1e-9)
    assert (median == h).all()
    assert len(h) > 200


def test_samplings_draw_as_many_of_both_groups_and_join_as_twice_the_median() -> None:
    values = np.random.default_rng(1).normal(size=(24, 50)).astype(np.float32)
    draws = kruskal.samplings(SIMILAR, seed=5, each=6)
    assert len(draws) == kruskal.SAMPLINGS
    assert len({tuple(draw) for draw in draws}) > 1
    for draw in draws:
        assert (SIMILAR[draw].sum(), (~SIMILAR[draw]).sum(), len(set(draw))) == (6, 6, 12)
    exact = values.astype(float)
    each = [[stats.kruskal(exact[d][SIMILAR[d], i], exact[d][~SIMILAR[d], i]).pvalue for i in range(50)] for d in draws]
    p, _ = kruskal.probabilities(values, SIMILAR, draws)
    np.testing.assert_allclose(p, np.minimum(1, 2 * np.median(each, axis=0)), rtol=1e-9)


def test_blocks_in_threads_give_what_one_block_gives() -> None:
    values = np.random.default_rng(2).normal(size=(24, 1001)).astype(np.float32)
    values[:, 7] = 3  # never tested
    draws = kruskal.samplings(SIMILAR, seed=0, each=6)
    whole = kruskal.probabilities(values, SIMILAR, draws, jobs=1)
    parts = kruskal.probabilities(values, SIMILAR, draws, jobs=2, block=100)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isnan(whole[0][7])
    assert np.isnan(whole[0]).sum() == 1


def test_pure_noise_is_not_significant_and_what_is_planted_in_it_is() -> None:
    values = np.random.default_rng(3).normal(size=(48, 20000)).astype(np.float32)
    similar = np.arange(48) % 2 > 0
    draws = kruskal.samplings(similar, seed=0, each=24)
    p, _ = kruskal.probabilities(values, similar, draws)
    assert 0.03 < (p < 0.05).mean() < 0.07  # what no correction would report
    assert kruskal.significant(p).mean() < 0.001
    values[similar, :2000] += 2
    is_significant = kruskal.significant(kruskal.probabilities(values, similar, draws)[0])
    assert is_significant[:2000].mean() > 0.9
    assert is_significant[2000:].sum() < 0.1 * is_significant.sum()


def test_one_group_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both groups"):
        kruskal.statistic(np.zeros((4, 2)), np.ones(4, bool))


# -- the layers of a Target


def ranked(
    folder: Path, source: onnx.ModelProto, target: onnx.ModelProto, x: Array, core: Sequence[str] | None = None,
    **options: Any,
) -> tuple[list[tuple[str, float | None, float]], InputGroups, AlignedLayers]:  # fmt: skip
    """Node, share and statistic of each layer in the order ranked; the groups; the layers as they were aligned."""
    paths = {"source": str(folder / "source.onnx"), "target": str(folder / "target.onnx")}
    onnx.save(source, paths["source"])
    onnx.save(target, paths["target"])
    order = [o.name for o in source.graph.output]
    located = locate.locate(**paths, arrays={"x": x[:3]}, target_inputs={"x": x[:3]}, order=order)
    ranking = layer_ranking.align_layers(located.session_id, paths["source"], core)
    outputs = input_groups.output_differences(
        ViewInputs(**paths, source_arrays={"x": x}, target_arrays={"x": x}), order
    )
    groups = input_groups.choose_groups(outputs.labels_agree, outputs.distances, 0)
    chosen = {"x": x[groups.rows]}
    views = ViewInputs(**paths, source_arrays=chosen, target_arrays=chosen)
    ranked_layers = layer_ranking.rank_layers(views, ranking.layers, groups, **options)
    names = [layer.target_node for layer in ranking.layers]
    return [(names[s.layer], s.significant_share, s.mean_h) for s in ranked_layers.scores], groups, ranking


BEFORE = {
    "half precision of eight bits": ("c6", {"c1", "b1", "dw", "b2", "pw", "b3", "c4", "c5", "pr"}),
    "filters upside down": ("c5", {"c1", "b1", "dw", "b2", "pw", "b3", "c4"}),
    "transposed conv weights": ("ct", {"c1", "b1", "dw", "b2", "pw", "b3", "c4", "c5", "pr", "c6"}),
    "norm mean": ("b2", {"c1", "b1", "dw"}),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_wrong_layer_stands_among_the_first_and_above_all_before_it(name: str, tmp_path: Path) -> None:
    place, before = BEFORE[name]
    ranking, _, aligned = ranked(tmp_path, net(), broken(name), inputs(net(), 1, 64))
    names = [layer for layer, _, _ in ranking]
    assert names.index(place) < 4, ranking
    assert {layer for layer, share, h in ranking if share == 0 and h == 0} == before
    assert names.index(place) < min(map(names.index, before))
    assert aligned.unaligned == ()


def test_a_fault_that_only_some_inputs_meet_is_significant(tmp_path: Path) -> None:
    """Half of the inputs have nothing in the first channel, whose weights are wrong: their labels agree."""
    x = inputs(net(), 1, 60)
    x[::2, 0] = 0
    target = net()
    weights(target, "c1_w", lambda a: a * np.array([-9, 1, 1], np.float32).reshape(1, 3, 1, 1))
    ranking, groups, _ = ranked(tmp_path, net(), target, x)
    assert not groups.is_split_by_distance
    shares = {name: share for name, share, _ in ranking}
    assert shares["c1"] > 0.2, ranking
    assert [share for _, share, _ in ranking] == sorted(shares.values(), reverse=True)
    again, _, _ = ranked(
        tmp_path, net(), target, x, max_bytes_held=4 * 60 * 500
    )  # in many rounds, layers cut to pieces
    assert again == ranking


def test_layers_that_one_side_folds_are_held_against_what_is_behind_them(tmp_path: Path) -> None:
    """The Source has no tensor between a convolution and its norm; the Target's convolution is ranked all the same."""
    source = net()
    folded(source)
    ranking, _, aligned = ranked(tmp_path, source, broken("conv weights noisy"), inputs(net(), 1, 40))
    against = {layer.target_node: (layer.compared_tensor, layer.source_tensor) for layer in aligned.layers}
    assert [against[name] for name in ("c1", "b1", "dw", "b2")] == [("b1", "c1")] * 2 + [("b2", "dw")] * 2
    assert {name for name, share, h in ranking if (share, h) == (0, 0)} >= {"c1", "b1", "dw", "b2", "pw", "b3"}
    assert aligned.unaligned == ()


def test_a_layer_of_another_shape_comes_first_and_has_no_share(tmp_path: Path) -> None:
    b = Builder(2)
    x = b.node("Relu", [b.conv("x", "one", 3, 6)], "r1")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [b.conv(x, "two", 6, 8)], "gap")], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 8, 10), b.weight("fc_b", 10)], "y")
    source = b.model({"y": [10]})
    target = onnx.ModelProto.FromString(source.SerializeToString())
    settings(target, "two", pads=[0, 0, 0, 0])
    ranking, _, _ = ranked(tmp_path, source, target, inputs(source, 1, 12))
    assert ranking[0] == ("two", None, 0.0)
    assert [name for name, _, _ in ranking] == ["two", "y", "one"]


def mlp() -> onnx.ModelProto:
    b = Builder(4)
    x = b.node("Flatten", ["x"], "flat")
    x = b.node("Relu", [b.node("MatMul", [x, b.weight("m_w", 840, 30)], "first")], "r1")
    x = b.node("Tanh", [b.node("Gemm", [x, b.weight("g_w", 30, 20), b.weight("g_b", 20)], "second")], "t1")
    b.node("MatMul", [x, b.weight("h_w", 20, 10)], "y")
    return b.model({"y": [10]})


def test_core_layers_are_the_users_choice_and_need_no_convolution(tmp_path: Path) -> None:
    target = mlp()
    weights(target, "g_w", lambda a: a * np.where(np.arange(20) % 2, 1, -3))
    x = inputs(mlp(), 1, 60)
    names = [name for name, _, _ in ranked(tmp_path, mlp(), target, x)[0]]
    assert set(names) == {"first", "second", "y"}
    assert names[-1] == "first"
    assert [name for name, _, _ in ranked(tmp_path, mlp(), target, x, ["Gemm"])[0]] == ["second"]
    assert {name for name, _, _ in ranked(tmp_path, mlp(), target, x, ["Relu", "Tanh"])[0]} == {"r1", "t1"}


@pytest.mark.parametrize("agree", [True, False])
def test_where_all_labels_agree_or_all_differ_the_outputs_distance_makes_the_groups(agree: bool) -> None:
    apart = np.array([5.0, 1.0, 4.0, 0.0, np.inf, 2.0, 3.0])
    groups = input_groups.choose_groups(np.full(7, agree), apart, 0)
    assert (groups.is_split_by_distance, groups.similar_count, groups.dissimilar_count) == (True, 3, 4)
    assert set(groups.rows[groups.is_similar]) == {1, 3, 5}


def test_with_equal_outputs_there_are_two_groups_still_and_one_input_is_too_few() -> None:
    assert input_groups.choose_groups(np.ones(4, bool), np.zeros(4), 0).similar_count == 2
    with pytest.raises(ValueError, match="too few"):
        input_groups.choose_groups(np.ones(1, bool), np.zeros(1), 0)


# -- as a person runs it


def run(folder: Path, *arguments: str, sizes: tuple[int, ...], code: int = 0) -> dict[str, Any]:
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *sizes)).astype("float32"))
    done = safeconvert(*arguments, "--inputs", "x.npz", "--json", "--force", folder=folder)
    assert done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def test_repair_ranks_layers_and_repairs_what_it_repairs_without(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "source.onnx")
    onnx.save(broken("half precision of eight bits"), tmp_path / "target.onnx")
    arguments = ["repair", "source.onnx", "target.onnx", "-o", "fixed.onnx"]
    plain = run(tmp_path, *arguments, sizes=(3, 20, 14))
    report = run(tmp_path, *arguments, "--ranking", "kruskal", sizes=(3, 20, 14))
    assert plain["localisation"]["method"] == "replay"
    assert report["localisation"]["method"] == "kruskal"
    names = [entry["target_node"] for entry in report["localisation"]["ranking"]]
    assert len(names) == 12
    assert "c6" in names[:3]
    kept = [{key: value for key, value in entry.items() if key != "reproduce"} for entry in report["faults"]]
    assert kept == [{key: value for key, value in entry.items() if key != "reproduce"} for entry in plain["faults"]]
    assert any("--ranking kruskal" in note for note in report["notes"])
    assert "ranked by the Kruskal-Wallis test" in (tmp_path / "fixed.onnx.report.html").read_text(encoding="utf-8")
    none = run(tmp_path, *arguments, "--ranking", "kruskal", "--core-layers", "LSTM", sizes=(3, 20, 14))
    assert none["localisation"] == plain["localisation"]
    assert any("has no layers of type LSTM" in note for note in none["notes"])


def test_an_operator_that_onnx_does_not_have_is_bad_input_with_a_near_name(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "source.onnx")
    done = safeconvert(
        "repair", "source.onnx", "source.onnx", "-o", "o.onnx", "--ranking", "kruskal", "--core-layers", "Conv,gem",
        folder=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    assert "gem: ONNX has no such operator. Did you mean Gemm" in done.err


def test_a_pair_command_ranks_the_layers_of_what_a_converter_that_reads_onnx_gave(tmp_path: Path) -> None:
    onnx.save(pooled(average_pool("c", "m", "uneven")), tmp_path / "net.onnx")
    arguments = ["onnx2keras", "net.onnx", "--ranking", "kruskal", "--core-layers", "Conv,AveragePool,MatMul"]
    report = run(tmp_path, *arguments, sizes=(3, 12, 9))
    assert report["verdict"] == "repaired"
    assert [entry["source_node"] for entry in report["faults"]] == ["uneven"]
    assert report["localisation"]["method"] == "kruskal"
    entries = {entry["source_node"]: entry for entry in report["localisation"]["ranking"]}
    assert set(entries) >= {"conv", "classes"}
    assert entries["conv"]["target_node"] == "LAYER_0"
    assert report["localisation"]["ranking"][-1]["source_node"] == "conv"


def test_a_pair_command_ranks_the_layers_of_what_a_converter_made_of_its_source(tmp_path: Path) -> None:
    made_by(AREA, tmp_path)
    report = run(tmp_path, "keras2onnx", "source.keras", "-o", "t.onnx", "--ranking", "kruskal", sizes=(12, 9, 3))
    assert report["verdict"] == "repaired"
    assert [entry["source_node"] for entry in report["faults"]] == ["smaller"]
    assert report["localisation"]["method"] == "kruskal"
    assert {entry["source_node"] for entry in report["localisation"]["ranking"]} == {"conv", "head"}
