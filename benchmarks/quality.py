"""How good a picture is, by four figures that no method optimises.

`python -m benchmarks.quality PHOTO PAINTING PICTURE...` prints them. They are measured on pixels, and on the plain
loop's network; the engine has no part in them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from PIL import Image, ImageOps
from torch import Tensor

from examples.plain import Network, resize, to_tensor

STRUCTURE_LAYER = "conv4_2"
POSITIONS, PATCHES = 1024, 4000  # at most so many of a picture are compared
SEED = 0


class Quality(NamedTuple):
    """Four figures of one picture. Only all together say that it is a painting of the photo."""

    unpainted: float  # share of the windows that are left smooth; lower is better
    grainy: float  # share of the windows that are rougher than the painting; lower is better
    patches: float  # distance of small patches to the painting's, 1 for the photo; lower is nearer the painting
    structure: float  # how far the parts are alike and unlike as they are in the photo, 1 for the photo


class Evaluator:
    """Judges 8-bit pictures of `photo` painted like `painting`, all at long side `size` and at the photo's shape."""

    @torch.no_grad()
    def __init__(self, network: Network, photo: Image.Image, painting: Image.Image, size: int) -> None:
        self.network, self.photo = network, resize(photo, size)
        P, S = to_tensor(self.photo), to_tensor(resize(painting, size))
        self.painting_detail = fine_detail(S)
        self.painting_patches = sample_patches(S, SEED)
        self.photo_distance = patch_distance(sample_patches(P, SEED + 1), self.painting_patches)
        self.photo_cosines = self._cosines(P)

    @torch.no_grad()
    def evaluate(self, picture: Image.Image) -> Quality:
        """All four figures; a picture of another size is first brought to the photo's."""
        x = to_tensor(picture.resize(self.photo.size, Image.Resampling.LANCZOS))
        detail = fine_detail(x)
        return Quality(
            unpainted=unpainted(detail, self.painting_detail),
            grainy=grainy(detail, self.painting_detail),
            patches=patch_distance(sample_patches(x, SEED + 1), self.painting_patches) / self.photo_distance,
            structure=structure(self._cosines(x), self.photo_cosines),
        )

    def _cosines(self, x: Tensor) -> Tensor:
        return cosines(self.network.activations(x, [STRUCTURE_LAYER])[STRUCTURE_LAYER])


def fine_detail(x: Tensor) -> Tensor:
    """d_w = sqrt(mean over window w of (g − box₉(g))²) of the grey g = (R + G + B) / 3, edges reflected.

    Pixels (1, 3, H, W) become one number for each window of 32×32 pixels, every 16 pixels.
    """
    grey = x.mean(dim=1, keepdim=True)
    fine = grey - nnf.avg_pool2d(nnf.pad(grey, (4, 4, 4, 4), mode="reflect"), 9, stride=1)
    return nnf.avg_pool2d(fine.square(), 32, stride=16).sqrt().flatten()


def unpainted(detail: Tensor, painting: Tensor) -> float:
    """Share of windows with d_w < q₀.₀₅(painting): smoother than nearly all of the painting, as a photo's sky is."""
    return (detail < painting.quantile(0.05)).float().mean().item()


def grainy(detail: Tensor, painting: Tensor) -> float:
    """Share of windows with d_w > q₀.₉₉(painting): rougher than the painting anywhere is, as noise is."""
    return (detail > painting.quantile(0.99)).float().mean().item()


def sample_patches(x: Tensor, seed: int) -> list[Tensor]:
    """Patches of 7×7 pixels in RGB, at full, half and quarter size (box mean), each (≤ PATCHES, 147).

    They are taken every 2 pixels of (1, 3, H, W), and of these at random.
    """
    generator, found = torch.Generator().manual_seed(seed), []
    for scale in (1, 2, 4):
        every = nnf.unfold(nnf.avg_pool2d(x, scale), 7, stride=2)[0].T
        found.append(every[torch.randperm(len(every), generator=generator)[:PATCHES]])
    return found


def patch_distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Σ over sizes of ½ (mean_i min_j ‖a_i − b_j‖ + mean_j min_i ‖a_i − b_j‖): each patch to its nearest, both ways.

    *Patches* is this distance of picture and painting, divided by that of photo and painting.
    """
    distances = (torch.cdist(p, q) for p, q in zip(a, b, strict=True))
    return sum((d.amin(dim=0).mean() + d.amin(dim=1).mean()).item() / 2 for d in distances)


def cosines(F: Tensor) -> Tensor:
    """C_ij = cos(f_i − f̄, f_j − f̄) of the features f_i at random positions, f̄ their mean: (1, N, H, W) to (M, M)."""
    F = F.flatten(2)[0]
    F = F[:, torch.randperm(F.shape[1], generator=torch.Generator().manual_seed(SEED))[:POSITIONS]]
    F = nnf.normalize(F - F.mean(dim=1, keepdim=True), dim=0)
    return F.T @ F


def structure(C: Tensor, photo: Tensor) -> float:
    """The correlation of the picture's C_ij with the photo's over all i, j: 1 when the same parts are alike."""
    return nnf.cosine_similarity((C - C.mean()).flatten(), (photo - photo.mean()).flatten(), dim=0).item()


def main() -> None:
    """Print the figures of every picture."""
    from styletransfer import console, weights

    console.escape_unprintable()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Judge pictures of one pair.")
    for name in ("photo", "painting", "picture"):
        parser.add_argument(name, type=Path, nargs="+" if name == "picture" else None)
    parser.add_argument("--size", type=int, default=512, help="long side at which they are compared (default: 512)")
    args = parser.parse_args()
    evaluator = Evaluator(Network(weights.bundled_vgg16()), _open(args.photo), _open(args.painting), args.size)
    print(*(f"{field:>9}" for field in Quality._fields))
    for path in args.picture:
        print(*(f"{figure:9.3f}" for figure in evaluator.evaluate(_open(path))), f" {path}", flush=True)


def _open(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


if __name__ == "__main__":
    main()
