"""The film of a picture as it forms: MP4, which phones and messengers play, and animated WebP, which needs no player.

The MP4 is made by ffmpeg, a program of its own in the wheel of imageio-ffmpeg: docs/deploy.md has its licence.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from PIL import Image

from styletransfer import images

MAX_FRAMES = 48
SIZE = 480  # pixels of the long side
FRAMES_PER_SECOND = 10
LAST_SECONDS = 2  # how long the finished picture stays
MAX_ENCODING_SECONDS = 60.0  # it takes 0.3


class FilmError(Exception):
    """No film could be made; the message says why, for the log."""


class TimeLapse:
    """Images of a picture as it forms, evenly spread over the run however long it is."""

    def __init__(self) -> None:
        self.images: list[Image.Image] = []
        self._halvings = self._seen = 0

    def add(self, image: Image.Image) -> None:
        """Add an image; when there are too many, drop every other one and from then on take half as many."""
        self._seen += 1
        if self._seen % 2**self._halvings:
            return
        self.images.append(image.resize(_fit(image)))
        if len(self.images) > MAX_FRAMES:
            self.images = self.images[::2]
            self._halvings += 1

    def save_mp4(self, file: Path, last: Image.Image) -> None:
        """Save as H.264 in 4:2:0, with even sides and its index in front. It ends on `last`. Raises FilmError."""
        width, height = (side + side % 2 for side in _fit(last))
        pixels = b"".join(image.resize((width, height)).tobytes() for image in (*self.images, last))
        try:
            command = [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"),
                *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"),
                *("-framerate", str(FRAMES_PER_SECOND), "-i", "-"),
                "-vf",
                f"tpad=stop_mode=clone:stop_duration={LAST_SECONDS - 1 / FRAMES_PER_SECOND},"
                "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
                "setparams=color_primaries=bt709:color_trc=iec61966-2-1",  # those of sRGB
                *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20"),
                *("-movflags", "+faststart", str(file)),
            ]
            subprocess.run(command, input=pixels, capture_output=True, check=True, timeout=MAX_ENCODING_SECONDS)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").replace(str(file), "the film")  # its name is the visitor's
            raise FilmError(f"ffmpeg ended with {error.returncode}: {said.strip()}") from error
        except subprocess.TimeoutExpired as error:
            raise FilmError(f"ffmpeg took longer than {MAX_ENCODING_SECONDS:.0f} s") from error
        except (OSError, RuntimeError) as error:  # there is none for this machine, or it cannot be started
            raise FilmError(f"ffmpeg cannot be used: {error}") from error

    def save_webp(self, file: Path, last: Image.Image) -> None:
        """Save as animated WebP, which ends on `last`. Raises FilmError."""
        frames = [image.resize(_fit(last)) for image in (*self.images, last)]
        durations = [1000 // FRAMES_PER_SECOND] * (len(frames) - 1) + [1000 * LAST_SECONDS]  # milliseconds
        options: dict[str, Any] = {"duration": durations, "quality": 75, "method": 0, "loop": 0}
        try:
            frames[0].save(file, save_all=True, append_images=frames[1:], **options)
        except OSError as error:
            raise FilmError(f"the WebP cannot be written: {error.strerror}") from error


def _fit(image: Image.Image) -> tuple[int, int]:
    return images.fit_size(image, min(SIZE, max(image.size)))
