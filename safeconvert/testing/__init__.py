"""For tests of models: ``from safeconvert.testing import assert_same_predictions``."""

from .predictions import assert_same_predictions

__all__ = ["assert_same_predictions"]
