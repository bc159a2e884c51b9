"""What the guards demand of the code: which packages run in the parent, which in workers, and who may import whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support.code_map import Import, Module

# From the top to the bottom: a module may import from its own room and from rooms further down.
# A name that ends in ".*" stands for all below it; a module belongs to the entry that names it most closely.
ROOMS: tuple[tuple[str, ...], ...] = (
    # Parent process: no framework is imported here.
    ("__main__",),
    ("cli.*",),
    ("dropins.*",),
    ("testing.*",),
    ("batch.*",),  # many conversions through the public functions
    ("api", ""),
    ("runs.*",),
    ("reporting.*",),
    ("quantization.*",),
    ("repair.*",),  # strategies, the gate, faults in the words of the Target's own format
    ("conversion.*",),
    ("checking.*",),
    ("live.*",),
    ("models.*",),
    ("options",),
    ("comparison.*",),
    ("inputs.*",),
    ("converters", "converters.scripts", "converters.hop"),
    ("repair.remote_functions",),  # conversion and checking ask repair's worker functions too
    ("formats.*",),
    ("workers.*",),
    # Worker processes: relative imports only.
    ("repair.statistics.*",),
    ("repair.localization.*",),
    ("repair.faults.*",),
    ("repair.alignment.*",),
    ("repair.graph.*",),
    ("converters.*",),
    ("converters.keras_rebuild.*",),
    ("converters.forms.*",),
    ("converters.support.*",),
    ("converters.hop_function",),
    ("repair.rewrites.*",),
    ("runtimes.*",),
    # Both sides raise errors and know records, which import nothing.
    ("errors", "records"),
)
FIRST_WORKER_ROOM = ROOMS.index(("repair.statistics.*",))
PUBLIC_MODULES = {"__init__", "__main__", "api", "errors", "options", "records"}
FRAMEWORKS = {
    "torch", "torchvision", "tensorflow", "keras", "onnx", "onnxruntime", "onnx_ir", "onnxscript", "ai_edge_litert",
    "tvm", "onnx2torch", "onnx2keras", "onnx2tf", "onnxmltools", "tf2onnx", "litert_quantizer",
}  # fmt: skip


def room_of(name: str) -> int:
    """The place of a module's room in ROOMS; ``name`` begins with ``safeconvert``. LookupError where it has none."""
    local = name.removeprefix("safeconvert").removeprefix(".")
    matches = [
        (len(entry.removesuffix(".*")), local == entry, index)
        for index, entries in enumerate(ROOMS)
        for entry in entries
        if is_within(local, entry)
    ]
    if not matches:
        raise LookupError(f"{name} belongs to no room: name it in ROOMS of {__name__}")
    return max(matches)[-1]


def is_within(local: str, entry: str) -> bool:
    folder = entry.removesuffix(".*")
    return local == folder or (entry != folder and local.startswith(f"{folder}."))


def is_worker(name: str) -> bool:
    return room_of(name) >= FIRST_WORKER_ROOM


def is_handle_type(module: Module, target: str, imported: Import) -> bool:
    """Whether the import only tells mypy what a worker function takes and returns; nothing is loaded by it."""
    return imported.is_for_types and not is_worker(module.name) and is_worker(target)


def inner_imports(modules: Mapping[str, Module]) -> Iterator[tuple[Module, Import]]:
    """The imports of one module of the package by another, without those for the types of handles."""
    for module in modules.values():
        for imported in module.imports:
            if imported.target in modules and not is_handle_type(module, imported.target, imported):
                yield module, imported


def upward_imports(modules: Mapping[str, Module]) -> set[tuple[str, str]]:
    return {
        (module.name, imported.target)
        for module, imported in inner_imports(modules)
        if room_of(imported.target) < room_of(module.name) and not is_lazy_home(module)
    }


def is_lazy_home(module: Module) -> bool:
    """``safeconvert/__init__.py`` and ``repair/__init__.py`` name public functions, loaded when they are asked for."""
    return module.name in ("safeconvert", "safeconvert.repair")


def import_edges(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {name: set() for name in modules}
    for module, imported in inner_imports(modules):
        if not is_lazy_home(module) and imported.target != module.name:
            edges[module.name].add(imported.target)
    return edges


def framework_imports(module: Module) -> set[str]:
    return {root for imported in module.imports if (root := imported.target.partition(".")[0]) in FRAMEWORKS}


def loads_framework(name: str, modules: Mapping[str, Module]) -> bool:
    """Whether importing the module loads a framework, through its own imports or those of the modules it imports."""
    loaded, waiting = {name}, [name]
    while waiting:
        for imported in modules[waiting.pop()].imports:
            if imported.is_local or imported.is_for_types or imported.target in loaded:
                continue
            if imported.target.partition(".")[0] in FRAMEWORKS:
                return True
            if imported.target in modules:
                loaded.add(imported.target)
                waiting.append(imported.target)
    return False
