"""The tests: folders mirror the packages, ``support`` holds what several tests share, ``guards`` read the code."""

import pytest

pytest.register_assert_rewrite("tests.support")
