"""Random models, how they are run apart from safeconvert, and how their outputs are judged: for ``fuzz.py``."""
