"""The garbage collector while a converter that copies its graph runs."""

import gc
import weakref

import pytest
from safeconvert.converters.support.garbage import THRESHOLDS, lean


class Graph:
    """Copies that hold each other, as a converter's do: only the collector frees them."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_runs_often_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    with lean():
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_converter_that_fails_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), lean():
        raise RuntimeError("no such operator")
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_old_copies_are_freed_after_few_new_objects() -> None:
    with lean():
        old = [Graph() for _ in range(3)]
        watched = [weakref.ref(item) for item in old]
        gc.collect()  # they are of the oldest generation now
        del old
        work = [[] for _ in range(60_000)]
        assert len(work) == 60_000
        assert not any(item() for item in watched)
