"""Where weights come from: VGG-16 from this package, VGG-19 from a cache, a file or a download."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import http.client
import os
import queue
import re
import threading
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import torch
from safetensors import safe_open
from torch import Tensor

from .errors import WeightsError

VGG16_FOLDER = Path(__file__).with_name("vgg16")
VGG16_BLOCKS = (2, 2, 3, 3, 1)
VGG19_BLOCKS = (2, 2, 4, 4, 4)
# torchvision's VGG19_Weights.IMAGENET1K_V1: what follows the dash is the beginning of the file's SHA-256
VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
CHUNK = 1 << 18  # bytes


class Weights(NamedTuple):
    """The convolutions of a VGG, and the normalisation `(x - mean) / std` that they expect of RGB `x` in [0, 1].

    `tensors` holds "conv1_1.weight" (O, I, 3, 3), "conv1_1.bias" (O,), … in the order of the layers, float32.
    """

    name: str
    tensors: dict[str, Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str


def conv_names(per_block: Sequence[int]) -> list[str]:
    """Name the convolutions of a VGG, given their number in each block: conv1_1, conv1_2, conv2_1, …"""
    return [f"conv{block}_{i}" for block, count in enumerate(per_block, 1) for i in range(1, count + 1)]


def conv_shapes(per_block: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of `Weights.tensors`: 64 channels in block 1, doubled in each next, up to 512."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for name in conv_names(per_block):
        outputs = min(32 << int(name[4]), 512)
        shapes[f"{name}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"{name}.bias"] = (outputs,)
        inputs = outputs
    return shapes


def torchvision_keys(per_block: Sequence[int]) -> dict[str, str]:
    """Return torchvision's key for each of `Weights.tensors`: "conv2_1.bias" is its "features.5.bias".

    Its `features` count a ReLU after each convolution and a pooling after each block.
    """
    return {
        f"{name}.{kind}": f"features.{2 * i + int(name[4]) - 1}.{kind}"
        for i, name in enumerate(conv_names(per_block))
        for kind in ("weight", "bias")
    }


def bundled_vgg16() -> Weights:
    """Read the ImageNet VGG-16 up to conv5_1 that ships with this package, see vgg16/SOURCES.md.

    Raises WeightsError if its files are damaged or missing.
    """
    keys = conv_shapes(VGG16_BLOCKS)
    tensors: dict[str, Tensor] = {}
    try:
        for line in (VGG16_FOLDER / "SHA256SUMS").read_text().splitlines():
            checksum, shard = line.split()
            if _sha256(VGG16_FOLDER / shard) != checksum:
                raise ValueError(f"{shard} has a wrong checksum")
            tensors |= _read_tensors(VGG16_FOLDER / shard, keys)
        tensors = {key: tensors[key] for key in keys}
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError("The VGG-16 that ships with this package is damaged: install it again.") from error
    mean = (123.68 / 255, 116.779 / 255, 103.939 / 255)
    return Weights("vgg16", tensors, mean, (1 / 255, 1 / 255, 1 / 255), "bundled with this package")


def cached_vgg19() -> Path | None:
    """Find the VGG-19 that $STYLETRANSFER_VGG19 names, or one in torch's or the Hugging Face Hub's cache."""
    if named := os.environ.get("STYLETRANSFER_VGG19"):
        return Path(named)
    if _download_path().is_file():
        return _download_path()
    found = huggingface_hub.try_to_load_from_cache("timm/vgg19.tv_in1k", "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def read_vgg19(path: Path) -> Weights:
    """Read the convolutions of VGG-19 from torchvision's file (.pth) or timm's (.safetensors).

    The published .pth is in torch's oldest format, which has to be read whole; other files are mapped. A damaged file
    in torch's download cache is deleted, so that the next start downloads it afresh. No other file is ever deleted.
    Raises WeightsError if `path` is missing, damaged or not VGG-19.
    """
    keys = torchvision_keys(VGG19_BLOCKS)
    try:
        if (checksum := _checksum_in_name(path)) and not _sha256(path).startswith(checksum):
            if path.absolute() != _download_path().absolute():
                raise WeightsError(f"{path} has a wrong checksum: name another file, or use vgg16.")
            path.unlink(missing_ok=True)
            raise WeightsError(f"{path} was damaged and is now deleted: the next start downloads it afresh.")
        found = _read_tensors(path, keys.values())
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        why = _reason(error) if isinstance(error, OSError) else "damaged, or no weights file"
        raise WeightsError(f"{path} cannot be read ({why}): name another file, or use vgg16.") from error
    for theirs, shape in zip(keys.values(), conv_shapes(VGG19_BLOCKS).values(), strict=True):
        if theirs not in found or found[theirs].shape != shape:
            raise WeightsError(f"{path} is not VGG-19 (see its {theirs}): name another file, or use vgg16.")
    tensors = {key: found[theirs] for key, theirs in keys.items()}
    return Weights("vgg19", tensors, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), str(path))


def download_vgg19(
    progress: Callable[[int, int], object] = lambda done, total: None,
    *,
    timeout: float = 3.0,
    stall: float = 30.0,
) -> Path:
    """Download torchvision's VGG-19 (548 MB) into torch's cache, and return where it is.

    `progress(done, total)` gets bytes, with a `total` of 0 if the server does not say. An exception from it ends the
    download. Raises WeightsError if no answer comes within `timeout` seconds, if nothing more comes for `stall`
    seconds, or if the file is incomplete, wrong or cannot be saved. No piece of it is left behind then.
    """
    target = _download_path()
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")  # two processes may download at once
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open(VGG19_URL, timeout, stall) as response, part.open("xb") as file:
            atexit.register(part.unlink, missing_ok=True)  # at exit a daemon thread skips its `finally`
            total, done, digest = response.length or 0, 0, hashlib.sha256()
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
        if done < total:
            raise OSError(f"the connection ended after {done} of {total} bytes")
        if not digest.hexdigest().startswith(_checksum_in_name(target)):
            raise OSError("what arrived has a wrong checksum")
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        why = _reason(error)
        raise WeightsError(f"VGG-19 could not be downloaded ({why}): try later, or use vgg16.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return target


def _download_path() -> Path:
    """Return the place where torchvision keeps its VGG-19, so that one download serves both."""
    return Path(torch.hub.get_dir(), "checkpoints", VGG19_URL.rpartition("/")[2])


def _checksum_in_name(path: Path) -> str:
    """Return the beginning of the SHA-256 in the file's name, as torch and the Hub's cache write it, or ""."""
    if path.name == _download_path().name:
        return path.stem.rpartition("-")[2]
    blob = path.resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_tensors(path: Path, keys: Iterable[str]) -> dict[str, Tensor]:
    """Read the `keys` that the file has, as float32. They are copied, because a view would keep the file in memory."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            there = set(file.keys())
            return {key: file.get_tensor(key).to(torch.float32, copy=True) for key in keys if key in there}
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return {key: state[key].to(torch.float32, copy=True) for key in keys if key in state}


def _open(url: str, timeout: float, stall: float) -> Any:
    """Open `url`. The answer must come within `timeout` seconds, and each read from it may take `stall` seconds.

    A thread asks, since the look-up of a name has no time limit and each of its addresses has one of its own.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=stall))
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(error: Exception) -> str:
    """Return the reason of an error without the number and the brackets that Python puts around it."""
    cause = error.reason if type(error) is urllib.error.URLError else error
    return str(getattr(cause, "strerror", None) or cause)
