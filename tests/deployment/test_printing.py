"""What the programs of this project print into a file, in an encoding without Greek letters and pictographs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data import PAINTING, PHOTO, ROOT

ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
TABLES = """
from benchmarks import __main__ as benchmarks
benchmarks.parse_args = lambda: exit(print("| α, β | ≤ 1.5 |", benchmarks.report.LEGEND))
benchmarks.main()
"""
UPLOAD = """
from scripts import upload_space
upload_space.files = lambda: ["examples/βλ.jpg"]
upload_space.ROOT = __import__("pathlib").Path(r"{folder}")
upload_space.main()
"""


def start(encoding: str, said: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as file:
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def run(encoding: str, folder: Path, *arguments: str | Path) -> str:
    process = start(encoding, folder / "said.txt", *arguments)
    returncode = process.wait(120)
    said = (folder / "said.txt").read_bytes().decode(encoding)
    assert returncode == 0, said
    return said


@pytest.mark.slow
@ENCODINGS
def test_the_benchmarks_tables(tmp_path: Path, encoding: str) -> None:
    assert r"\u03b1, \u03b2" in run(encoding, tmp_path, "-c", TABLES)


@pytest.mark.slow
@ENCODINGS
def test_the_benchmarks_figures_of_a_picture_with_an_odd_name(tmp_path: Path, encoding: str) -> None:
    shutil.copy(PHOTO, tmp_path / "β.jpg")
    said = run(encoding, tmp_path, "-m", "benchmarks.quality", PHOTO, PAINTING, tmp_path / "β.jpg", "--size=64")
    assert r"\u03b2.jpg" in said


@pytest.mark.slow
@ENCODINGS
def test_the_list_of_an_upload(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "βλ.jpg").touch()
    code = UPLOAD.format(folder=tmp_path)
    assert r"\u03b2\u03bb.jpg" in run(encoding, tmp_path, "-c", code, "anna/space", "--dry-run")


@pytest.mark.slow
@ENCODINGS
def test_the_page_starts(tmp_path: Path, encoding: str) -> None:
    """Gradio greets with a pictograph where it offers tools to language models."""
    process = start(encoding, tmp_path / "said.txt", "-u", "app.py", "--mcp")
    try:
        deadline = time.monotonic() + 120
        while "Launching MCP server" not in (said := (tmp_path / "said.txt").read_bytes().decode(encoding)):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(60)
    assert "Traceback" not in said
