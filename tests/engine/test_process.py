"""A program that imports the package keeps its own settings; the command line and the page set theirs before torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import ROOT

PROGRAM = """
import multiprocessing
from PIL import Image
from styletransfer import Settings, stylize

def paint(size):
    photo, painting = Image.new("RGB", (size, size), "teal"), Image.radial_gradient("L").convert("RGB")
    *_, last = stylize(photo, painting, Settings(size=size, iterations=2, backbone="vgg16"))
    return last.iteration

if __name__ == "__main__":
    print(paint(96))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(paint, (96,)))
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_changes_neither_the_environment_nor_the_allocator_and_loads_no_torch() -> None:
    script = """
import ctypes, os, sys
before = dict(os.environ)
calls, CDLL = [], ctypes.CDLL
ctypes.CDLL = lambda name: type("C", (), {"mallopt": lambda self, *option: calls.append(option)})()
import styletransfer
print(dict(os.environ) == before, calls, "torch" in sys.modules)
ctypes.CDLL = CDLL
styletransfer.stylize
print("torch" in sys.modules)
"""
    assert run(script).split("\n")[:2] == ["True [] False", "True"]


@pytest.mark.parametrize("value", [None, "ACTIVE"])
def test_tuning_the_process_leaves_a_value_of_the_callers_alone(value: str | None) -> None:
    script = f"""
import os
os.environ.pop("OMP_WAIT_POLICY", None)
if {value!r}:
    os.environ["OMP_WAIT_POLICY"] = {value!r}
import styletransfer
styletransfer.tune_process()
print(os.environ["OMP_WAIT_POLICY"])
"""
    assert run(script).strip() == (value or "PASSIVE")


@pytest.mark.parametrize(
    "start",
    [
        "import runpy; runpy.run_module('styletransfer', run_name='__main__', alter_sys=True)",
        "import app; app.main()",
    ],
    ids=["command line", "page"],
)
def test_the_process_is_tuned_before_torch_is_loaded(start: str) -> None:
    script = f"""
import sys, styletransfer
def tune():
    print("torch" in sys.modules)
    sys.exit()
styletransfer.tune_process = tune
{start}
"""
    assert run(script).strip() == "False"


@pytest.mark.slow
def test_after_a_run_a_spawned_process_paints(tmp_path: Path) -> None:
    """A forked one hangs, as the docstring of the package says."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, file], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2"]
