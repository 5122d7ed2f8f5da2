"""The house rules of imports: one direction through the rooms, no circles, a light front door."""

from __future__ import annotations

import ast
import copy
import graphlib
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import causalprune_lib
import causalprune_studies
from causalprune_lib import _moved
from causalprune_lib._moved import MOVED

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "causalprune_lib"
STUDIES = ROOT / "book" / "causalprune_studies"
ROOMS = ("nets", "dynamics", "causality", "pruning", "diagnostics", "evidence")
HEAVY = ("shap", "weightwatcher", "pyhessian", "datasets", "nolds", "statsmodels", "plotly")
HEAVY += ("torch_pruning", "hessian_eigenthings")
SLOW = ("pandas", "sklearn", "matplotlib", "scipy", "joblib")
OURS = ("causalprune_lib", "causalprune_studies")
BUDGET = 0.3  # seconds that `import causalprune_lib` may add to `import torch`


def files_of(package: Path) -> dict[str, Path]:
    """causalprune_lib/nets/models.py as causalprune_lib.nets.models; a package without __init__."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


LIBRARY = files_of(PACKAGE)
FILES = LIBRARY | files_of(STUDIES)


def imports_of(module: str, source: str, *, is_package: bool) -> set[str]:
    """Every module of this library that `source` imports, at the top or inside a function."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            children = {f"{origin}.{alias.name}" for alias in node.names}
            # `from room import file` names files; `from room.file import name` names the file
            found |= (children & FILES.keys()) or {origin}
    return {name for name in found if name.split(".")[0] in OURS}


EDGES = {
    name: imports_of(name, path.read_text(encoding="utf-8"), is_package=path.stem == "__init__")
    for name, path in FILES.items()
}


def room_of(module: str) -> str | None:
    """The room of a module; None for the package itself and its private helpers."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def test_the_reader_of_imports_sees_every_form():
    source = (
        "import causalprune_lib.nets.models\n"
        "from causalprune_lib.nets import parameters\n"
        "from . import sources\n"
        "from ..pruning.masks import Masks\n"
        "import os\n"
        "def f():\n    from .training import train\n"
    )
    assert imports_of("causalprune_lib.nets.data", source, is_package=False) == {
        "causalprune_lib.nets.models",
        "causalprune_lib.nets.parameters",
        "causalprune_lib.nets.sources",
        "causalprune_lib.nets.training",
        "causalprune_lib.pruning.masks",
    }


def test_every_room_stands_where_the_plan_says():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(ROOMS)
    assert {f"causalprune_lib.{room}" for room in ROOMS} <= FILES.keys()
    assert causalprune_lib._ROOMS == ROOMS


def test_a_room_imports_only_from_rooms_above_it():
    wrong = [
        f"{module} imports {target}"
        for module, targets in EDGES.items()
        for target in targets
        if room_of(module) is not None
        and room_of(target) is not None
        and ROOMS.index(room_of(target)) > ROOMS.index(room_of(module))
    ]
    assert wrong == []


def test_the_library_knows_nothing_of_the_book():
    wrong = {
        module: [target for target in EDGES[module] if target.startswith(STUDIES.name)]
        for module in LIBRARY
    }
    assert {module: targets for module, targets in wrong.items() if targets} == {}


def chapter_of(module: str) -> int | None:
    """The chapter that a file of the studies belongs to; None for the shared ones."""
    found = re.match(rf"{STUDIES.name}\.ch(\d\d)_", module + ".")
    return int(found.group(1)) if found else None


def test_a_chapter_imports_only_shared_files_and_earlier_chapters():
    wrong = [
        f"{module} imports {target}"
        for module, targets in EDGES.items()
        for target in targets
        if chapter_of(target) is not None and (chapter_of(module) or 0) < chapter_of(target)
    ]
    assert wrong == []


def test_helpers_of_the_package_know_no_room():
    wrong = [
        f"{module} imports {target}"
        for module, targets in EDGES.items()
        if module in LIBRARY
        and room_of(module) is None
        and module not in ("causalprune_lib", "causalprune_lib._moved")
        for target in targets
        if room_of(target) is not None
    ]
    assert wrong == []


def test_no_circles():
    try:
        graphlib.TopologicalSorter(EDGES).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_import_of_the_library_names_a_file():
    missing = {target for targets in EDGES.values() for target in targets} - FILES.keys()
    assert missing == set()


HOMES = {  # public name -> the file that the stub says
    alias.asname: node.module
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


@pytest.mark.parametrize("name", causalprune_lib.__all__)
def test_public_names_come_from_the_file_that_defines_them(name):
    value = getattr(causalprune_lib, name)
    assert value.__module__ == f"causalprune_lib.{HOMES[name]}"
    assert value.__doc__, f"{name} has no docstring"


def test_public_names_are_few_and_said_once():
    assert sorted(HOMES) == sorted(causalprune_lib.__all__) == causalprune_lib.__dir__()
    assert 30 <= len(HOMES) <= 65


@pytest.mark.parametrize("name", MOVED)
def test_names_that_left_still_work_and_say_where_they_went(name):
    assert name not in HOMES
    with pytest.warns(DeprecationWarning, match=f"causalprune_lib.{name} "):
        assert getattr(causalprune_lib, name) is not None


def test_functions_that_left_do_what_they_did():
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    model, batch = nn.Linear(3, 2, bias=False), (x, torch.zeros(12, 2))
    size = model.weight.abs()
    cut = _moved.loss_slice(model, F.mse_loss, [batch], direction=model.weight.flatten(), points=3)
    loss = F.mse_loss(model(x), batch[1]).item()
    assert cut.loss.tolist() == pytest.approx([0, loss, 4 * loss])
    assert _moved.latency(model, x, repeats=3).median > 0
    one = _moved.inverse_unstructured(copy.deepcopy(model), 1)
    assert one.weight_mask.flatten().argmin() == size.argmax()
    moved = {"weight": torch.full((2, 3), 2.0)}
    other = _moved.obd_unstructured(copy.deepcopy(model), 1, movement=moved)
    assert other.weight_mask.flatten().argmin() == size.argmin()


PAGE_NAMES = set(causalprune_studies.__all__)
MODULES = {"causalprune_lib.dynamics.systems"}  # of named systems, one by one
SHARED = (f"{STUDIES.name}.paper_networks", f"{STUDIES.name}.figures")


def foreign_imports(number: int, source: str) -> list[str]:
    """What a page imports of this project that is neither public, nor its own chapter's."""
    own = tuple(name for name in FILES if chapter_of(name) == number)
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in OURS]
            wrong += [name for name in names if name not in OURS]
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                public = (node.module == "causalprune_lib" and alias.name in HOMES) or (
                    node.module == STUDIES.name and alias.name in PAGE_NAMES
                )
                shared = node.module.startswith(SHARED)
                if not (public or shared or node.module in own or name in MODULES):
                    wrong.append(name)
    return wrong


def test_the_reader_of_a_page_tells_own_from_foreign():
    source = (
        "import causalprune_lib as cp, causalprune_studies as book, numpy\n"
        "from causalprune_lib import train\n"
        "from causalprune_lib.dynamics import systems\n"
        "from causalprune_studies.ch02_chaos.study import LearningRateSweep\n"
        "from causalprune_studies.paper_networks.settings import legcnet_settings\n"
    )
    assert foreign_imports(2, source) == []
    assert foreign_imports(3, source) == ["causalprune_studies.ch02_chaos.study.LearningRateSweep"]
    assert foreign_imports(2, "from causalprune_lib.pruning.select import floor_counts") == [
        "causalprune_lib.pruning.select.floor_counts"
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_imports_public_names_and_its_own_chapter(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    source = "\n".join(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell) for cell in code)
    number = int(path.stem[:2]) if path.stem[:2].isdigit() else 0
    assert foreign_imports(number, source) == []


def test_the_book_uses_public_names_only():
    used = {
        (page.name, name)
        for page in sorted((ROOT / "book").glob("*.md"))
        for name in re.findall(r"\bcp\.([A-Za-z]\w*)", page.read_text(encoding="utf-8"))
    }
    assert used, "no page uses the library as cp"
    assert {(page, name) for page, name in used if name not in causalprune_lib.__all__} == set()


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match="Did you mean 'masks_from_scores'"):
        causalprune_lib.mask_from_scores  # noqa: B018


def in_a_new_process(code: str) -> dict | list:
    """Run `code` in a fresh interpreter; return what it prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def front_door() -> list[dict]:
    """Three times: what `import causalprune_lib` costs and loads once torch is there."""
    code = (
        "import json, sys, time, torch\n"
        "before, start = set(sys.modules), time.perf_counter()\n"
        "import causalprune_lib\n"
        "seconds = time.perf_counter() - start\n"
        "loaded = sorted({m.split('.')[0] for m in set(sys.modules) - before})\n"
        "print(json.dumps({'seconds': seconds, 'loaded': loaded}))"
    )
    return [in_a_new_process(code) for _ in range(3)]


def test_import_costs_little_beyond_torch(front_door):
    seconds = [one["seconds"] for one in front_door]
    assert statistics.median(seconds) < BUDGET, seconds


def test_import_loads_nothing_slow(front_door):
    assert {name for one in front_door for name in one["loaded"]}.isdisjoint({*HEAVY, *SLOW})


def test_heavy_libraries_are_imported_where_they_are_used():
    code = (
        "import importlib, json, sys\n"
        f"for name in {sorted(LIBRARY)!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    assert set(in_a_new_process(code)).isdisjoint(HEAVY)
