"""What the project asks for: exact and complete pins for the book, loose ranges for the library."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import causalprune_lib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = ("3.11", "3.12", "3.13")
OURS = {
    "causalprune_lib",
    "causalprune_studies",
    "pipeline",
    "retarget",
}  # importable names that are no distribution

PINS = [
    Requirement(line.split(" #")[0])
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def environment(python: str) -> dict[str, str]:
    """The marker environment of a Python on Linux, for installing without extras."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.2",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "extra": "",
    }


def pinned(python: str) -> dict[str, Version]:
    """Name -> version that requirements.txt installs on `python`."""
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in PINS
        if pin.marker is None or pin.marker.evaluate(environment(python))
    }


def asked_for(*extras: str) -> list[Requirement]:
    """The library's own requirements with these extras, extras of extras resolved."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    todo = list(extras)
    while todo:
        for text in EXTRAS[todo.pop()]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                todo += requirement.extras
            else:
                found.append(requirement)
    return found


def test_every_pin_is_exact_and_stands_once():
    for pin in PINS:
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), f"{pin} is not exact"
        assert pin.url is None
        assert not pin.extras
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert sorted(names) == sorted(set(names))


def test_the_versions_that_must_be_these():
    versions = pinned("3.11")
    assert versions["torch"] == Version("2.13.0")
    assert versions["nolds"] == Version("0.6.2")
    assert versions["setuptools"] < Version("81")


@pytest.mark.parametrize("python", PYTHONS)
def test_pins_meet_everything_the_library_and_its_extras_ask_for(python):
    versions, wrong = pinned(python), []
    for requirement in asked_for(*EXTRAS):
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or version not in requirement.specifier:
                wrong.append(f"{requirement} but pinned: {version}")
    assert wrong == []


def test_pins_are_complete_for_what_the_pinned_packages_ask_for_here():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions, wrong = pinned(python), []
    for name in versions:
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            if name == "torch" and re.match(r"nvidia|cuda|triton", requirement.name):
                continue  # a CUDA build brings its own, pinned by torch itself
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                wrong.append(f"{name} asks for {requirement} but pinned: {version}")
    assert wrong == []


@pytest.mark.parametrize("version", ["2.2.0", "2.6.0+cu124", "2.13.0+cpu", "3.0.0"])
def test_any_recent_torch_satisfies_the_library(version):
    for requirement in asked_for("data", "diagnostics"):
        if requirement.name == "torch":
            assert requirement.specifier.contains(version)


def test_the_library_itself_asks_for_lower_bounds_only():
    for requirement in asked_for("data"):
        assert {part.operator for part in requirement.specifier} == {">="}, str(requirement)


@pytest.mark.parametrize(("python", "allowed"), [("3.11", False), ("3.12", True), ("3.13", True)])
def test_the_nolds_that_cannot_be_imported_is_excluded_where_it_cannot(python, allowed):
    here = [r for r in map(Requirement, EXTRAS["diagnostics"]) if r.name == "nolds"]
    chosen = [r for r in here if r.marker.evaluate(environment(python))]
    assert len(chosen) == 1
    assert chosen[0].specifier.contains("0.6.3") is allowed
    assert chosen[0].specifier.contains("0.6.2")


def distributions_imported(folder: str) -> set[str]:
    """The distributions that the files under `folder` import, at the top or in a function."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        if "_build" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    local = {path.stem for path in (ROOT / folder).rglob("*.py")} | OURS
    known = importlib.metadata.packages_distributions()
    return {
        canonicalize_name(known[name][0])
        for name in names - local - set(sys.stdlib_module_names)
        if name in known
    }


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("causalprune_lib", ("data", "structured", "diagnostics")),
        ("book", ("book",)),
        ("tests", ("test",)),
    ],
)
def test_whatever_is_imported_is_asked_for(folder, extras):
    declared = {canonicalize_name(r.name) for r in asked_for(*extras)}
    assert distributions_imported(folder) - declared == set()


def test_one_version_number_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == causalprune_lib.__version__
    assert "version" in PROJECT["dynamic"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{causalprune_lib.__version__}]" in changelog


def test_the_pythons_that_are_promised_are_the_pythons_that_are_tested():
    promised = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d", c)]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tuple(promised) == tuple(tested) == PYTHONS
