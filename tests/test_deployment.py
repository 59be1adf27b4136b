"""What a Space, a container and the upload need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import metadata_load
from packaging.requirements import Requirement

from page import choose
from scripts import upload_space
from styletransfer import weights

ROOT = Path(__file__).parents[1]
PHOTO = choose.EXAMPLES / "content" / "chelsea.jpg"
PAINTING = choose.EXAMPLES / "style" / "woodcut.webp"
# https://huggingface.co/docs/hub/spaces-config-reference
DOCUMENTED = {
    "title",
    "emoji",
    "colorFrom",
    "colorTo",
    "sdk",
    "python_version",
    "sdk_version",
    "suggested_hardware",
    "suggested_storage",
    "app_file",
    "app_port",
    "base_path",
    "fullWidth",
    "header",
    "short_description",
    "models",
    "datasets",
    "tags",
    "thumbnail",
    "pinned",
    "hf_oauth",
    "hf_oauth_scopes",
    "hf_oauth_expiration_minutes",
    "disable_embedding",
    "startup_duration_timeout",
    "custom_headers",
    "preload_from_hub",
    "license",
}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def requirements(name: str) -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    return {requirement.name: requirement for requirement in found}


def test_a_space_accepts_the_front_matter_and_finds_what_it_names() -> None:
    said = metadata_load(ROOT / "README.md")
    assert said.keys() <= DOCUMENTED
    assert {said["colorFrom"], said["colorTo"]} <= COLOURS
    assert said["sdk"] == "gradio"
    assert said["sdk_version"] in requirements("requirements.txt")["gradio"].specifier
    assert re.fullmatch(r"3\.(10|12)", said["python_version"]), "what ZeroGPU has, as a string"
    assert (ROOT / said["app_file"]).is_file()
    assert (ROOT / said["thumbnail"]).is_file()
    assert len(said["short_description"]) <= 60
    assert len(said["emoji"]) <= 2
    assert said["suggested_hardware"] in ("zero-a10g", "cpu-basic")


def test_the_weights_that_a_space_preloads_are_those_that_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (preloaded,) = metadata_load(ROOT / "README.md")["preload_from_hub"]
    repository, files = preloaded.split(" ")
    snapshot = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    for name in files.split(","):
        (snapshot / name).write_bytes(b"x")
    monkeypatch.delenv("STYLETRANSFER_VGG19", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights.cached_vgg19() == snapshot / "model.safetensors"


def test_the_torch_of_a_space_is_one_that_zero_gpu_has_and_that_the_engine_takes() -> None:
    (pinned,) = requirements("pre-requirements.txt").values()
    version = str(pinned.specifier).removeprefix("==")
    assert version in ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
    assert version in requirements("requirements.txt")["torch"].specifier


def test_every_dependency_says_what_it_is_for() -> None:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"\S+ +# \w.{5,}", line), line


def test_the_dry_run_of_the_upload_lists_what_a_space_needs_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.upload_space", "anna/demo", "--dry-run"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[-1] for line in done.stdout.splitlines()[:-1]}
    assert {"app.py", "README.md", "requirements.txt", "pre-requirements.txt", "page/page.css"} <= listed
    assert {"styletransfer/loop.py", "styletransfer/calibration.webp", "examples/pairs.csv"} <= listed
    assert not [name for name in listed if name.startswith(("tests/", ".venv", ".git/", "benchmarks/"))]
    assert "anna/demo" in done.stdout


def test_the_uploaded_readme_has_a_thumbnail_with_an_address() -> None:
    text = upload_space.content("README.md", "anna/demo").decode()
    said = yaml.safe_load(text.split("---")[1])
    assert said["thumbnail"] == "https://huggingface.co/spaces/anna/demo/resolve/main/examples/thumbnail.jpg"
    assert upload_space.content("app.py", "anna/demo") == (ROOT / "app.py").read_bytes()


def test_the_container_starts_the_page_with_options_that_there_are() -> None:
    text = (ROOT / "Dockerfile").read_text()
    command = re.findall(r"^CMD \[(.*)\]", text, re.M)[-1]
    options = re.findall(r"--[a-z]+", command)
    known = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert options and all(option in known for option in options)
    for copied in re.findall(r"^COPY (?:--\S+ )?(\S+) ", text, re.M):
        assert (ROOT / copied).exists()


def test_nothing_heavy_happens_when_the_page_is_imported() -> None:
    script = "import sys, app; from styletransfer import backbones; print(backbones.vgg16.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "0", "weights are read when the first picture is painted"
