"""The frameworks of a person's own process, where safeconvert runs as a library.

None is imported here: two frameworks in one process can abort it.
"""

from __future__ import annotations

import sys
from typing import Any


def imported(name: str) -> Any:
    """Return the module of that name if this process has imported it, else None."""
    return sys.modules.get(name)


def is_instance(value: object, module: str, *class_names: str) -> bool:
    """Is the value an instance of a class ``module.class_name``? False where the module was never imported."""
    owner = imported(module)
    classes = [getattr(owner, name, None) for name in class_names]
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in classes)
