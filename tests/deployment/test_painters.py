"""The options for painters on other machines, and what a page without them needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--painters", "ray://10.0.0.5:10001"], "pictures cannot be sent through a Ray Client"),
        (["--painter-cpus", "2"], "--painter-cpus and --painter-gpus need --painters"),
        (["--painters", "ray", "--painter-cpus", "none"], "'none' is no number from 1 to 100000"),
        (["--painters", "ray", "--painter-gpus", "-1"], "--painter-gpus must be from 0 to 64"),
        (["--waiting", "0"], "'0' is no number"),
    ],
)
def test_an_option_for_painters_that_cannot_work_is_explained_in_one_sentence(options: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "app.py", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


WITHOUT_RAY = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name == "ray" or name.startswith("ray."):
            print("TRIED", name)
            raise ImportError(name)
sys.meta_path.insert(0, NoRay())
"""


def test_a_page_on_one_machine_never_looks_for_ray(tmp_path: Path) -> None:
    script = f"""{WITHOUT_RAY}
import gradio, app, threading
from page import run
gradio.Blocks.block_thread = lambda page: None
run.warm_up = lambda *requests: None
app.main()
"""
    environment = {**os.environ, "STYLETRANSFER_VGG19": str(tmp_path / "none.pth")}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "TRIED" not in done.stdout


def test_painters_without_ray_say_how_to_install_it() -> None:
    script = f"{WITHOUT_RAY}\nimport app, sys\nsys.argv = ['app.py', '--painters', 'ray']\napp.main()"
    script = script.replace("raise ImportError(name)", "return None").replace(
        "import app, sys", "import app, sys\napp.find_spec = lambda name: None"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--painters needs Ray: pip install -r requirements-ray.txt" in done.stderr
