"""What is public is exported once, documented, and stands on its floor."""

import ast
import runpy
from pathlib import Path

import pytest

import sklearn_shortcuts
from tests.discovery import public_objects, rooms

PACKAGE = Path(sklearn_shortcuts.__file__).parent
FLOORS = {
    "images": 0,
    "metrics": 1,
    "datasets": 2,
    "preprocessing": 2,
    "neural": 3,
    "explain": 4,
    "latent": 5,
    "audit": 6,
    "mitigation": 6,
    "review": 6,
    "report": 7,
}


def test_every_room_stands_in_the_api_reference():
    reference = runpy.run_path(str(PACKAGE.parent / "docs" / "api_reference.py"))["ROOMS"]
    with_names = {f"sklearn_shortcuts.{name}" for name, module in rooms().items() if module.__all__}
    assert set(reference) == with_names


def test_names_at_the_top_are_those_of_the_rooms():
    public = public_objects()
    for name in sklearn_shortcuts.__all__:
        if name in ("__version__", "show_versions"):
            continue
        homes = [dotted for dotted in public if dotted.rsplit(".", 1)[1] == name]
        assert len(homes) == 1, f"{name} is public in {homes}"
        assert public[homes[0]] is getattr(sklearn_shortcuts, name)


def test_a_name_has_one_home():
    names = [dotted.rsplit(".", 1)[1] for dotted in public_objects()]
    assert len(names) == len(set(names))


def imports_of(path):
    """Rooms a file imports from, whether by relative or by absolute import."""
    depth = len(path.relative_to(PACKAGE).parts) - 1  # folders between the package and the file
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level == 0:
                module = (node.module or "").split(".")
                if module[0] == "sklearn_shortcuts":
                    yield from [module[1]] if len(module) > 1 else [alias.name for alias in node.names]
            elif node.level == depth + 1:
                yield from [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "sklearn_shortcuts" and len(parts) > 1:
                    yield parts[1]


@pytest.mark.parametrize("room", sorted(rooms()))
def test_imports_point_downwards(room):
    for path in (PACKAGE / room).rglob("*.py"):
        for other in imports_of(path):
            if other in FLOORS and other != room:
                assert FLOORS[other] < FLOORS[room], f"{path.name} in {room}/ imports from {other}/"
