"""Fault injectors, one file a format, each run in a process of its own: torch and TensorFlow do not share one.

python -m benchmarks.faults keras model.keras faulty.keras --type WB --strength 0.5 --seed 3
"""

FORMATS = ("onnx", "keras", "torch", "tflite")
TYPES = ("PP", "ID", "TSS", "WB", "LH", "CG")
