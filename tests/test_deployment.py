"""What a Space, a container and the upload need."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gradio
import httpx
import pytest
import yaml
from gradio_client import Client, handle_file
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from PIL import Image

from page import choose, run, turn, watch
from scripts import upload_space
from styletransfer import PRESETS, Settings, weights

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
    assert said["thumbnail"] == "https://huggingface.co/spaces/anna/demo/resolve/main/examples/readme.jpg"
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


# ZeroGPU


def order(folder: Path, **changes: Any) -> run.Order:
    settings = Settings(**{"size": 64, "iterations": 6, **changes})
    return run.Order(str(PHOTO), (str(PAINTING),), settings, None, str(folder))


def test_an_order_and_its_views_cross_a_process_border(tmp_path: Path) -> None:
    last: Any = None
    for last in run.views(pickle.loads(pickle.dumps(order(tmp_path)))):
        again = pickle.loads(pickle.dumps(last))
        assert type(again.picture) is Image.Image
        assert again.losses == last.losses
    assert last.ended == "Finished"


def test_the_seconds_asked_of_a_gpu_are_few_and_follow_the_preset(tmp_path: Path) -> None:
    asked = {
        name: run.seconds_on_gpu(run.Order("", (), settings, None, str(tmp_path))) for name, settings in PRESETS.items()
    }
    assert asked["quick"] < asked["balanced"] < asked["best"]
    assert max(asked.values()) <= 60
    assert run.seconds_on_gpu(order(tmp_path, size=2048, iterations=2000)) <= 120


def test_the_real_package_without_its_gpu_leaves_the_work_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    assert run.on_gpu(run.views) is run.views
    import spaces

    assert "spaces" in sys.modules
    assert spaces.GPU(duration=run.seconds_on_gpu)(run.views) is run.views


def test_off_spaces_the_package_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert run.on_gpu(run.views) is run.views
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    assert run.on_gpu(run.views) is run.views


def bordered(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`task` in a process forked for it, with only pickles across, as the package does on ZeroGPU."""
    fork = get_context("fork")

    def serve(pickled: bytes, out: Any, stop: Any) -> None:
        generator = task(*pickle.loads(pickled))
        for value in generator:
            if stop.is_set():
                generator.close()
                break
            out.send_bytes(pickle.dumps(("value", value, os.getpid())))
        out.send_bytes(pickle.dumps(("end", None, os.getpid())))

    def here(*args: Any) -> Iterator[Any]:
        receiving, sending = fork.Pipe(duplex=False)
        stop = fork.Event()
        process = fork.Process(target=serve, args=(pickle.dumps(args), sending, stop), daemon=True)
        process.start()
        sending.close()
        try:
            while True:
                kind, value, pid = pickle.loads(receiving.recv_bytes())
                assert pid != os.getpid()
                if kind == "end":
                    return
                yield value
        finally:
            stop.set()
            receiving.close()
            process.join(20)
            assert not process.is_alive()

    return here


@pytest.fixture
def zero_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A simulated ZeroGPU; gives the durations that were asked for."""
    asked: list[int] = []

    def GPU(duration: Callable[..., int]) -> Callable[..., Any]:
        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def on_gpu(*args: Any) -> Iterator[Any]:
                asked.append(duration(*args))
                yield from bordered(task)(*args)

            return on_gpu

        return decorate

    package: Any = types.ModuleType("spaces")
    package.GPU = GPU
    monkeypatch.setitem(sys.modules, "spaces", package)
    monkeypatch.setenv("SPACE_ID", "anna/demo")
    monkeypatch.setattr(run, "ZERO_GPU", True)
    monkeypatch.setattr(run, "SECONDS_PER_VIEW", -1)
    monkeypatch.setattr(weights, "cached_vgg19", lambda: None)
    monkeypatch.setattr(run, "paint", run.on_gpu(run.views))
    return asked


def painted(job: watch.Job, iterations: int, photo: Path = PHOTO) -> Iterator[Any]:
    watch.begin(job)
    positions = turn.turn_to(Settings(size=64, iterations=iterations))
    return watch.stylize(job, str(photo), str(PAINTING), "best", *positions)


def test_a_run_across_the_border_is_shown_and_saved(zero_gpu: list[int]) -> None:
    job = watch.Job()
    *_, last = painted(job, 12)
    assert "Finished: 12 of 12" in last[1]
    assert Image.open(last[3]).size == job.kept[0].settings.size * 1.0 or max(Image.open(last[3]).size) == 64
    assert zero_gpu == [15]


def test_what_is_turned_reaches_a_run_across_the_border(zero_gpu: list[int]) -> None:
    job = watch.Job()
    updates = painted(job, 600)
    next(updates), next(updates)
    turned = turn.turn_to(Settings(size=64, iterations=600, style_weight=1e9))
    watch.steer(job, "best", *turned)
    for _ in range(400):
        said = next(updates)
        if said[2] != gradio.skip() and any(mark.text == "turned" for mark in said[2].layout.annotations):
            break
    watch.stop(job)
    *_, _last = updates
    assert job.kept[0].settings.style_weight == 1e9


def test_stop_reaches_a_run_across_the_border(zero_gpu: list[int]) -> None:
    job = watch.Job()
    updates = painted(job, 2000)
    next(updates), next(updates)
    watch.stop(job)
    *_, last = updates
    assert "Stopped" in last[1]
    assert Path(last[3]).is_file()


def test_a_visitor_who_leaves_ends_the_run_across_the_border(zero_gpu: list[int]) -> None:
    updates = painted(watch.Job(), 2000)
    next(updates), next(updates)
    started = time.monotonic()
    updates.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 15


def test_a_refusal_keeps_its_sentence_across_the_border(zero_gpu: list[int], tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(gradio.Error, match=r"notes\.jpg is not in a readable format"):
        list(painted(watch.Job(), 4, tmp_path / "notes.jpg"))


ON_A_SPACE = """
import sys, types, os
spaces = types.ModuleType("spaces")
def GPU(duration):
    return lambda task: task
spaces.GPU = GPU
sys.modules["spaces"] = spaces
import app
app.main()
"""


def test_the_page_starts_as_on_a_space_and_does_not_offer_pause_there(tmp_path: Path) -> None:
    environment = {
        **os.environ, "SPACE_ID": "anna/demo", "SPACES_ZERO_GPU": "true", "GRADIO_SERVER_NAME": "0.0.0.0",
        "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-u", "-c", ON_A_SPACE], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        found = (re.findall(r"http://\S+?:(\d+)", line) for line in server.stdout or ())
        url = f"http://127.0.0.1:{next(match[0] for match in found if match)}/"
        config = httpx.get(f"{url}config").json()
        pause = next(part for part in config["components"] if part["props"].get("elem_id") == "pause")
        assert not pause["props"]["visible"]
        client = Client(url, verbose=False)
        given = {"size": 64, "iterations": 2, "api_name": "/stylize"}
        assert "Finished" in client.predict(handle_file(PHOTO), handle_file(PAINTING), "quick", **given)[1]
    finally:
        server.kill()
