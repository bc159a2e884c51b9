"""Converters under their own names, verified: one import line changes and the rest of a script stays.

    from safeconvert.dropins import torch                     # import torch: torch.onnx.export(...)
    from safeconvert.dropins import tensorflow as tf          # import tensorflow as tf: tf.lite.TFLiteConverter
    from safeconvert.dropins import tf2onnx                   # import tf2onnx: tf2onnx.convert.from_keras(...)
    from safeconvert.dropins import onnxmltools               # import onnxmltools: onnxmltools.convert_keras(...)
    from safeconvert.dropins.onnx2torch import convert        # from onnx2torch import convert
    from safeconvert.dropins.onnx2keras import onnx_to_keras  # from onnx2keras import onnx_to_keras

Each runs the original and returns what it returns, once its predictions were compared with the Source's. Where they
differ, the policy decides: ``repair`` (the default) returns a repaired model or raises :class:`Diverged`, ``raise``
raises it at once, ``warn`` warns. ``configure`` and ``using`` set the policy, the inputs to compare on and the options
of ``safeconvert.check``; the environment variable SAFECONVERT_POLICY sets the policy where these do not.
"""

from .settings import UnverifiedWarning, configure, using
from .verification import last_result

__all__ = ["UnverifiedWarning", "configure", "last_result", "using"]
