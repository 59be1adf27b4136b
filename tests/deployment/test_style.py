"""The code itself: lint, format and types, with the settings of pyproject.toml; and what a Space would refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.data import ROOT


@pytest.mark.parametrize("check", ["ruff check", "ruff format --check", "mypy"])
def test_the_code_is_clean(check: str) -> None:
    found = subprocess.run([sys.executable, "-m", *check.split()], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_engine_never_imports_gradio() -> None:
    script = "import sys, styletransfer, styletransfer.__main__; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


def test_no_file_is_too_large_for_a_space() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [ROOT / name for name in listed.split("\0") if name]
    assert tracked
    assert [path for path in tracked if path.is_file() and path.stat().st_size > 10_000_000] == []


def test_every_example_picture_has_its_source_and_rights() -> None:
    examples = ROOT / "examples"
    said = (examples / "SOURCES.md").read_text()
    for path in examples.rglob("*"):
        name = path.relative_to(examples)
        if path.suffix in (".jpg", ".webp") and name.parts[0] not in ("results", "thumbnails"):
            assert f"| `{name}` |" in said, name
    for made in ("results/PHOTO--PAINTING.jpg", "thumbnails/FOLDER/NAME.webp", "../page/icon.png"):
        assert f"| `{made}` |" in said
