"""What the person who starts the server has chosen. Importing this loads neither Gradio nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from styletransfer.settings import PRESETS

DEFAULT_PRESET = next(iter(PRESETS))


@dataclass(frozen=True)
class ServerConfig:
    """The options that reach past the launch of the server, into the page and its runs."""

    max_run_seconds: float = 30 * 60.0
    """A run that takes longer is stopped and keeps its picture: other visitors may be waiting."""
    vgg19_file: Path | None = None
    """The VGG-19 to paint with; None looks for one in the caches of this machine."""
    preset: str = DEFAULT_PRESET
    """The preset with which the page opens."""
