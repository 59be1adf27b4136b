"""What the person who starts the server has chosen. Importing this loads neither Gradio nor torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from styletransfer.settings import PRESETS, Settings

DEFAULT_PRESET = next(iter(PRESETS))
MAX_WAITING = 8
"""How many may wait for their turn, unless the server is started with another number."""


@dataclass(frozen=True)
class ServerConfig:
    """The options that reach past the launch of the server, into the page and its runs."""

    max_run_seconds: float = 30 * 60.0
    """A run that takes longer is stopped and keeps its picture: other visitors may be waiting."""
    vgg19_file: Path | None = None
    """The VGG-19 to paint with; None looks for one in the caches of this machine."""
    preset: str = DEFAULT_PRESET
    """The preset with which the page opens."""
    max_size: int = 2048
    """The longest side of a painting, in pixels: its cost grows with the square."""

    def limit_size(self, settings: Settings) -> Settings:
        """Return the settings with a size that this server paints."""
        return replace(settings, size=min(settings.size, self.max_size))
