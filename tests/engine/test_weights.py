"""VGG-16 is whole as bundled; VGG-19 is had from a file, a cache or a server, or refused in one sentence."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import Tensor, nn

from styletransfer import weights
from styletransfer.errors import WeightsError

# The first kernel of the published VGG-16 begins so; its first input channel is blue.
FIRST_KERNEL = [0.42947057, 0.373467, -0.06136011]


def skeleton(architecture: str) -> Any:
    """A torchvision network without memory: what it has are names and shapes."""
    with torch.device("meta"):
        return torchvision.models.get_model(architecture, weights=None)


def state_dict(architecture: str) -> dict[str, Tensor]:
    """A state dict of the right shapes, its n-th tensor full of n: one number to store, so a tiny file."""
    shapes = {key: tensor.shape for key, tensor in skeleton(architecture).state_dict().items()}
    return {key: torch.tensor(float(n)).expand(shape) for n, (key, shape) in enumerate(shapes.items())}


def pth_bytes(architecture: str = "vgg19", oldest_format: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(state_dict(architecture), buffer, _use_new_zipfile_serialization=not oldest_format)
    return buffer.getvalue()


def assert_is_fake_vgg19(read: weights.Weights) -> None:
    """The n-th tensor of `read` is full of n, and is the n-th convolution tensor of torchvision's VGG-19."""
    theirs = [tensor for key, tensor in skeleton("vgg19").state_dict().items() if key.startswith("features")]
    assert len(read.tensors) == len(theirs) == 32
    for n, (ours, tensor) in enumerate(zip(read.tensors.values(), theirs, strict=True)):
        assert ours.shape == tensor.shape
        assert ours.dtype == torch.float32
        assert torch.equal(ours, torch.full_like(ours, n))


def refusal(act: Callable[[], object]) -> str:
    """The message of the WeightsError that `act` must raise: one sentence."""
    with pytest.raises(WeightsError) as caught:
        act()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches of torch and of the Hub, and no proxy between a test and its server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Where torchvision keeps its downloads."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


class Server:
    """A local server with one file; `length` is what it claims to send, `status` what it answers.

    It sends `body` and then, if `stalls`, holds the connection open; if `silent`, it does not even answer.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length: int | None = len(body)
        self.status = 200
        self.stalls = self.silent = False
        self.over = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if server.silent:
                    server.over.wait(timeout=20)
                    return
                self.send_response(server.status)
                if server.length is not None:
                    self.send_header("Content-Length", str(server.length))
                self.end_headers()
                self.wfile.write(server.body)
                if server.stalls:
                    server.over.wait(timeout=20)

            def log_message(self, *args: object) -> None:
                """Keep the test's output clean."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        checksum = hashlib.sha256(body).hexdigest()
        self.url = f"http://127.0.0.1:{self.http.server_port}/vgg19-{checksum[:8]}.pth"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """What `download_vgg19` downloads from: it has a VGG-19, and answers well until told not to."""
    server = Server(pth_bytes())
    monkeypatch.setattr(weights, "VGG19_URL", server.url)
    yield server
    server.close()


# --- layers ---


@pytest.mark.parametrize(("architecture", "per_block"), [("vgg16", (2, 2, 3, 3, 3)), ("vgg19", weights.VGG19_BLOCKS)])
def test_layers_are_named_and_placed_as_torchvision_has_them(architecture: str, per_block: tuple[int, ...]) -> None:
    block, place, expected = 1, 0, []
    features = skeleton(architecture).features
    for index, module in enumerate(features):
        if isinstance(module, nn.MaxPool2d):
            block, place = block + 1, 0
        elif isinstance(module, nn.Conv2d):
            place += 1
            expected.append((f"conv{block}_{place}", index, tuple(module.weight.shape)))

    keys, shapes = weights.torchvision_keys(per_block), weights.conv_shapes(per_block)
    assert weights.conv_names(per_block) == [name for name, _, _ in expected]
    for name, index, shape in expected:
        assert keys[f"{name}.weight"] == f"features.{index}.weight"
        assert keys[f"{name}.bias"] == f"features.{index}.bias"
        assert shapes[f"{name}.weight"] == shape
        assert shapes[f"{name}.bias"] == shape[:1]
    assert list(keys) == list(shapes)


def test_vgg19_is_the_published_one_with_its_published_normalisation(tmp_path: Path) -> None:
    published = torchvision.models.VGG19_Weights.IMAGENET1K_V1
    assert published.url == weights.VGG19_URL
    path = tmp_path / "mine.pth"
    path.write_bytes(pth_bytes())
    read = weights.read_vgg19(path)
    assert list(read.mean) == published.transforms().mean
    assert list(read.std) == published.transforms().std


# --- VGG-16, bundled ---


def test_bundled_vgg16_has_the_layers_and_shapes_of_vgg16() -> None:
    vgg = weights.bundled_vgg16()
    assert vgg.name == "vgg16"
    assert [key for key in vgg.tensors if key.endswith("weight")][-1] == "conv5_1.weight"
    theirs = list(skeleton("vgg16").features.state_dict().values())[: len(vgg.tensors)]
    for ours, tensor in zip(vgg.tensors.values(), theirs, strict=True):
        assert ours.shape == tensor.shape
        assert ours.dtype == torch.float32
        assert ours.isfinite().all()


def test_bundled_vgg16_begins_with_the_published_kernel_in_its_blue_channel() -> None:
    kernel = weights.bundled_vgg16().tensors["conv1_1.weight"][0, 2, 0]
    assert kernel.tolist() == pytest.approx(FIRST_KERNEL, rel=2**-11)  # stored as float16


def test_bundled_vgg16_is_fed_what_it_was_trained_on() -> None:
    vgg = weights.bundled_vgg16()
    red, green, blue = ((1 - mean) / std for mean, std in zip(vgg.mean, vgg.std, strict=True))
    assert (blue, green, red) == pytest.approx((255 - 103.939, 255 - 116.779, 255 - 123.68))


def test_bundled_files_are_small_and_all_under_a_checksum() -> None:
    shards = sorted(weights.VGG16_FOLDER.glob("*.safetensors"))
    listed = dict(line.split()[::-1] for line in (weights.VGG16_FOLDER / "SHA256SUMS").read_text().splitlines())
    assert listed == {shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards}
    assert all(shard.stat().st_size < 10_000_000 for shard in shards)


def flip_a_bit(folder: Path) -> None:
    shard = folder / "conv5_1.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)


def forget_a_shard(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().splitlines()[0])


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        forget_a_shard,
        lambda folder: (folder / "conv5_1.safetensors").unlink(),
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_text("not a checksum file"),
    ],
)
def test_damaged_bundle_asks_to_install_again(
    damage: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vgg16"
    shutil.copytree(weights.VGG16_FOLDER, folder)
    monkeypatch.setattr(weights, "VGG16_FOLDER", folder)
    damage(folder)
    assert "install it again" in refusal(weights.bundled_vgg16)


# --- VGG-19, from a file ---


@pytest.mark.parametrize("oldest_format", [True, False], ids=["oldest format", "zip format"])
def test_vgg19_is_read_from_either_of_torch_s_formats(tmp_path: Path, oldest_format: bool) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(pth_bytes(oldest_format=oldest_format))
    read = weights.read_vgg19(path)
    assert_is_fake_vgg19(read)
    assert str(path) in read.source


@pytest.fixture
def timm_file(tmp_path: Path) -> Path:
    """A VGG-19 as timm keeps it: torchvision's convolutions, a classifier of other names; here as float16."""
    state = {key: tensor.half().contiguous() for key, tensor in state_dict("vgg19").items() if "features" in key}
    path = tmp_path / "timm.safetensors"
    save_file(state | {"head.fc.bias": torch.zeros(1000)}, path)
    return path


def test_vgg19_is_read_from_timm_s_safetensors(timm_file: Path) -> None:
    assert_is_fake_vgg19(weights.read_vgg19(timm_file))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_reading_does_not_keep_the_file_in_memory(tmp_path: Path, timm_file: Path) -> None:
    pth = tmp_path / "mine.pth"
    pth.write_bytes(pth_bytes())
    for path in (pth, timm_file):
        read = weights.read_vgg19(path)
        assert all(t.untyped_storage().nbytes() == 4 * t.numel() for t in read.tensors.values())
        assert str(path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19_bn", "alexnet"])
def test_another_network_is_refused_as_vgg19(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(pth_bytes(architecture))
    assert "not VGG-19" in refusal(lambda: weights.read_vgg19(path))
    assert path.exists()


def test_vgg19_of_other_widths_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(state_dict("vgg19") | {"features.34.bias": torch.zeros(256)}, path)
    assert "features.34.bias" in refusal(lambda: weights.read_vgg19(path))


class Harm:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("harm",)


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["mine.pth", "mine.safetensors", "vgg19-dcbb9e9d.pth"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>" * 100,
        pth_bytes()[:-100],
        pth_bytes(oldest_format=True)[:-100],
        saved([torch.zeros(3)]),
        saved({"features.0.weight": "text"}),
        saved(Harm()),
    ],
    ids=["empty", "web page", "truncated zip", "truncated oldest", "a list", "text for a tensor", "code"],
)
def test_file_that_is_no_weights_file_is_refused_and_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refusal(lambda: weights.read_vgg19(path))
    assert path.read_bytes() == content
    assert not Path("harm").exists()


def test_truncated_safetensors_is_refused(timm_file: Path) -> None:
    os.truncate(timm_file, timm_file.stat().st_size - 100)
    refusal(lambda: weights.read_vgg19(timm_file))
    assert timm_file.exists()


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", "vgg19-dcbb9e9d.pth"])
def test_missing_file_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    assert "No such file" in refusal(lambda: weights.read_vgg19(tmp_path / name))


# --- VGG-19, from a cache ---


def test_nothing_is_found_in_empty_caches() -> None:
    assert weights.cached_vgg19() is None


def test_the_file_that_the_environment_names_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLETRANSFER_VGG19", str(tmp_path / "mine.pth"))
    assert weights.cached_vgg19() == tmp_path / "mine.pth"
    with pytest.raises(WeightsError, match=r"mine\.pth"):
        weights.read_vgg19(weights.cached_vgg19())


def test_torchvision_s_own_download_is_found(checkpoints: Path) -> None:
    path = checkpoints / "vgg19-dcbb9e9d.pth"
    path.touch()
    assert weights.cached_vgg19() == path


def test_hub_s_cache_is_found_and_never_deleted(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--timm--vgg19.tv_in1k"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    (snapshot / "model.safetensors").write_bytes(b"broken")
    path = weights.cached_vgg19()
    assert path == snapshot / "model.safetensors"
    refusal(lambda: weights.read_vgg19(path))
    assert path.exists()


def test_a_bit_that_flipped_in_the_hub_s_cache_is_noticed(tmp_path: Path, timm_file: Path) -> None:
    whole = timm_file.read_bytes()
    blob = tmp_path / hashlib.sha256(whole).hexdigest()
    blob.write_bytes(whole)
    linked = tmp_path / "model.safetensors"
    linked.symlink_to(blob)
    assert_is_fake_vgg19(weights.read_vgg19(linked))
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "wrong checksum" in refusal(lambda: weights.read_vgg19(linked))
    assert blob.exists()


def test_damaged_download_is_deleted_and_the_next_start_downloads_afresh(server: Server, checkpoints: Path) -> None:
    path = checkpoints / server.url.rpartition("/")[2]
    path.write_bytes(server.body[:-1])
    assert weights.cached_vgg19() == path
    assert "deleted" in refusal(lambda: weights.read_vgg19(path))
    assert weights.cached_vgg19() is None
    assert_is_fake_vgg19(weights.read_vgg19(weights.download_vgg19()))


def test_file_that_the_cache_only_links_to_is_not_deleted(server: Server, checkpoints: Path, tmp_path: Path) -> None:
    mine = tmp_path / server.url.rpartition("/")[2]
    mine.write_bytes(b"broken")
    link = checkpoints / mine.name
    link.symlink_to(mine)
    for path in (mine, link):
        refusal(functools.partial(weights.read_vgg19, path))
        assert mine.exists()


# --- VGG-19, downloaded ---


def test_download_lands_where_torchvision_looks_and_tells_its_progress(
    server: Server, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body += bytes(3 * weights.CHUNK)
    server.length = len(server.body)
    checksum = hashlib.sha256(server.body).hexdigest()
    monkeypatch.setattr(weights, "VGG19_URL", f"{server.url.rpartition('/')[0]}/vgg19-{checksum[:8]}.pth")
    steps: list[tuple[int, int]] = []
    path = weights.download_vgg19(lambda done, total: steps.append((done, total)))
    assert path == weights.cached_vgg19()
    assert list(checkpoints.iterdir()) == [path]
    assert path.read_bytes() == server.body
    assert {total for _, total in steps} == {len(server.body)}
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert len(steps) >= 3
    assert steps[-1][0] == len(server.body)


def test_download_of_untold_length_is_taken(server: Server) -> None:
    server.length = None
    totals: set[int] = set()
    assert_is_fake_vgg19(weights.read_vgg19(weights.download_vgg19(lambda done, total: totals.add(total))))
    assert totals == {0}


def test_two_downloads_at_once_do_not_disturb_each_other(server: Server, checkpoints: Path) -> None:
    both_began = threading.Barrier(2)
    began = threading.local()

    def meet(done: int, total: int) -> None:
        if not hasattr(began, "once"):
            began.once = both_began.wait(timeout=10)

    threads = [threading.Thread(target=weights.download_vgg19, args=(meet,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both_began.broken
    assert [path.read_bytes() for path in checkpoints.iterdir()] == [server.body]


def not_found(server: Server) -> None:
    server.status = 404


def cut_short(server: Server) -> None:
    server.body = server.body[:-1000]


def something_else(server: Server) -> None:
    server.body = bytes(len(server.body))


def stall_midway(server: Server) -> None:
    server.body, server.stalls = server.body[:-1000], True


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (not_found, "404"),
        (cut_short, "ended after"),
        (something_else, "wrong checksum"),
    ],
)
def test_failed_download_is_told_and_leaves_nothing(
    server: Server, checkpoints: Path, misbehave: Callable[[Server], None], reason: str
) -> None:
    misbehave(server)
    assert reason in refusal(weights.download_vgg19)
    assert list(checkpoints.iterdir()) == []


def test_server_that_never_answers_does_not_hold_up_the_start(server: Server, checkpoints: Path) -> None:
    server.silent = True
    assert "no answer within" in refusal(lambda: weights.download_vgg19(timeout=0.1))
    assert list(checkpoints.iterdir()) == []


def test_download_that_stalls_is_given_up(server: Server, checkpoints: Path) -> None:
    stall_midway(server)
    assert "timed out" in refusal(lambda: weights.download_vgg19(stall=0.1))
    assert list(checkpoints.iterdir()) == []


def test_refused_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(weights, "VGG19_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/vgg19-00000000.pth")
        assert "refused" in refusal(weights.download_vgg19)


def test_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "Name or service not known" in refusal(weights.download_vgg19)


def test_name_server_that_does_not_answer_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **kwargs: object) -> None:
        over.wait(timeout=20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert "no answer within" in refusal(lambda: weights.download_vgg19(timeout=0.1))
    over.set()


@pytest.mark.usefixtures("server")
def test_full_disk_is_told_and_leaves_nothing(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.FileIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, mode))
    assert "No space left" in refusal(weights.download_vgg19)
    assert list(checkpoints.iterdir()) == []


@pytest.mark.usefixtures("server")
def test_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "torch").write_text("a file where the folder should be")
    assert "could not be downloaded" in refusal(weights.download_vgg19)


@pytest.mark.usefixtures("server")
def test_download_can_be_called_off_from_its_progress(checkpoints: Path) -> None:
    def call_off(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.download_vgg19(call_off)
    assert list(checkpoints.iterdir()) == []


@pytest.mark.slow
def test_program_that_ends_during_a_download_in_the_background_leaves_nothing(
    server: Server, checkpoints: Path
) -> None:
    stall_midway(server)
    program = """
import os, sys, threading
from styletransfer import weights
weights.VGG19_URL = sys.argv[1]
began = threading.Event()
threading.Thread(target=weights.download_vgg19, args=(lambda done, total: began.set(),), daemon=True).start()
began.wait(timeout=30)
print(len(os.listdir(sys.argv[2])))
"""
    command = [sys.executable, "-c", program, server.url, str(checkpoints)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "1", "the download had not begun"
    assert list(checkpoints.iterdir()) == []
