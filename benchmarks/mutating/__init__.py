"""Detectors, segmenters, multi-head and sequence models, healthy and with a seeded mutation: for ``mutants.py``."""
