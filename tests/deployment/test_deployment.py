"""What a Space, a container and the upload need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import metadata_load
from packaging.requirements import Requirement

from scripts import upload_space
from styletransfer import weights
from tests.data import ROOT

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
NEEDED = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "short_description",
    "thumbnail", "license", "models", "tags", "preload_from_hub",
}  # fmt: skip
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def requirements(name: str) -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    return {requirement.name: requirement for requirement in found}


def test_a_space_accepts_the_front_matter_and_finds_what_it_names() -> None:
    said = metadata_load(ROOT / "README.md")
    assert NEEDED <= said.keys() <= DOCUMENTED
    assert [model for model in said["models"] if not said["preload_from_hub"][0].startswith(f"{model} ")] == []
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
    assert {"styletransfer/losses.py", "styletransfer/calibration.webp", "examples/pairs.csv"} <= listed
    assert not [name for name in listed if name.startswith(("tests/", ".venv", ".git/", "benchmarks/"))]
    assert "anna/demo" in done.stdout


def test_the_uploaded_readme_has_a_thumbnail_with_an_address() -> None:
    text = upload_space.content("README.md", "anna/demo").decode()
    said = yaml.safe_load(text.split("---")[1])
    assert said["thumbnail"] == "https://huggingface.co/spaces/anna/demo/resolve/main/examples/thumbnail.jpg"
    assert upload_space.content("app.py", "anna/demo") == (ROOT / "app.py").read_bytes()


class Hub:
    """Stands for the Hub's API: what is in a Space, and what is done to it."""

    def __init__(self, there: list[str]) -> None:
        self.there = there
        self.done: list[tuple[str, str]] = []

    def create_repo(self, space: str, **said: Any) -> None:
        assert (space, said["repo_type"], said["space_sdk"]) == ("anna/demo", "space", "gradio")

    def list_repo_files(self, space: str, **_: Any) -> list[str]:
        return self.there

    def create_commit(self, space: str, operations: list[Any], **_: Any) -> Any:
        self.done = [(type(operation).__name__, operation.path_in_repo) for operation in operations]
        return types.SimpleNamespace(repo_url=f"https://huggingface.co/spaces/{space}")


@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Hub]:
    def run(there: list[str]) -> Hub:
        hub = Hub(there)
        monkeypatch.setattr(upload_space, "HfApi", lambda: hub)
        monkeypatch.setattr("sys.argv", ["upload_space", "anna/demo"])
        upload_space.main()
        return hub

    return run


def test_the_upload_sends_every_file_and_removes_files_of_earlier_versions(upload: Callable[[list[str]], Hub]) -> None:
    hub = upload([".gitattributes", "README.md", "app.py", "styletransfer/loop.py", "styletransfer/old.py"])
    sent = {name for what, name in hub.done if what == "CommitOperationAdd"}
    assert sent == set(upload_space.files())
    removed = {name for what, name in hub.done if what == "CommitOperationDelete"}
    assert removed == {"styletransfer/loop.py", "styletransfer/old.py"}
    assert upload([".gitattributes", "README.md"]).done, "a new Space"


def test_the_upload_leaves_another_space_alone(upload: Callable[[list[str]], Hub]) -> None:
    with pytest.raises(SystemExit, match="anna/demo holds something else"):
        upload([".gitattributes", "README.md", "app.py", "model.bin"])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The project as a ZIP file has it: only files."""
    for name in ("scripts/upload_space.py", "app.py", "README.md", "odd name ü.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text() if (ROOT / name).is_file() else "")
    return tmp_path


def refused_upload(folder: Path, space: str = "anna/demo") -> str:
    """What the upload says that refuses to start in a folder."""
    command = [sys.executable, "-m", "scripts.upload_space", space, "--dry-run"]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_an_upload_from_a_zip_file_is_refused_in_one_sentence(copied: Path) -> None:
    assert "get the project with `git clone`" in refused_upload(copied)


def test_an_upload_with_a_deleted_file_is_refused_by_its_name(copied: Path) -> None:
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=copied, check=True)
    (copied / "odd name ü.py").unlink()
    assert "files that are gone, odd name ü.py: bring them back with `git restore .`" in refused_upload(copied)


@pytest.mark.parametrize("space", ["demo", "anna/de mo", "https://huggingface.co/spaces/anna/demo"])
def test_an_upload_to_what_is_no_name_of_a_space_is_refused(space: str) -> None:
    assert "write OWNER/NAME" in refused_upload(ROOT, space)


@pytest.mark.parametrize("space", ["anna/-demo", "anna/de--mo", "anna/demo.git"])
def test_an_upload_to_a_name_that_the_hub_does_not_allow_is_refused(space: str) -> None:
    assert "the Hub allows no such name" in refused_upload(ROOT, space)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, r"http://127\.0\.0\.1:9 cannot be reached \(.+\): check the network"),
        ({"HF_ENDPOINT": "http://no.such.invalid"}, r"cannot be reached \(.+\): check the network"),
        ({"https_proxy": "http://127.0.0.1:9"}, r"huggingface\.co cannot be reached \(.+\): check the network"),
        ({"https_proxy": "sock://127.0.0.1:9"}, r"a proxy in the environment .* cannot be used: Unknown scheme"),
        ({"https_proxy": "http://127.0.0.1:port"}, r"a proxy in the environment .* cannot be used: Invalid port"),
        ({"HF_HUB_OFFLINE": "1"}, r"\$HF_HUB_OFFLINE says that the Hub may not be used: unset it first"),
    ],
    ids=["nobody listens", "no such host", "no proxy there", "no such proxy", "no such port", "offline"],
)
def test_an_upload_without_a_network_is_refused_in_one_sentence(environment: dict[str, str], said: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not re.search("(?i)_proxy$|^HF_", name)}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.upload_space", "anna/demo"],
        cwd=ROOT, capture_output=True, text=True, env={**clean, "HF_TOKEN": "hf_x", **environment},
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(said, done.stderr.splitlines()[-1]), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("zero_gpu", ["", "true"])
def test_the_page_warms_up_once_it_is_open_but_not_on_a_zero_gpu(zero_gpu: str) -> None:
    script = """
import time, gradio, app
from page import run
from styletransfer import backbones, weights
gradio.Blocks.block_thread = lambda page: time.sleep(1)
run.warm_up = lambda *requests: print("warms up", [request.settings.size for request in requests])
backbones.load = lambda vgg19_file: None
weights.cached_vgg19 = lambda: app.Path("vgg19.pth")
app.main()
"""
    environment = {**os.environ, "SPACES_ZERO_GPU": zero_gpu}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert ("warms up [512, 384]" in done.stdout) == (not zero_gpu)


def test_the_container_starts_the_page_with_options_that_there_are() -> None:
    text = (ROOT / "Dockerfile").read_text()
    command = re.findall(r"^CMD \[(.*)\]", text, re.M)[-1]
    options = re.findall(r"--[a-z]+", command)
    known = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert options and all(option in known for option in options)
    for copied in re.findall(r"^COPY (?:--\S+ )?(\S+) ", text, re.M):
        assert (ROOT / copied).exists()


def test_the_options_are_read_before_anything_heavy_is_imported() -> None:
    script = "import sys, app; print({'gradio', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()"], "their environment is set first, and a wrong option is refused at once"


@pytest.mark.slow
def test_nothing_heavy_happens_when_the_page_is_imported() -> None:
    script = (
        "from page import layout; from styletransfer import backbones; print(backbones._vgg16.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "0", "weights are read when the first picture is painted"
