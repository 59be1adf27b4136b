"""What the server remembers of a visit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .results import SavedResult
from .worker import RunControl

MAX_RESULTS = 24


@dataclass(eq=False)
class Session:
    """What a visitor's buttons and their run share, and the pictures of the visit so far.

    Gradio gives each visitor a deep copy of a fresh one. The folder is created when it is first used, and therefore
    never copied; it is deleted together with the session. The `delete_callback` of gr.State would be too little and
    too much: Gradio does not call it when it drops a session for want of room, and calls it an hour after the
    connection was lost for a moment, even if the visitor is still painting.
    """

    running: bool = False
    paused: bool = False
    has_output: bool = False  # whether the column of the result has been filled
    results: list[SavedResult] = field(default_factory=list)
    count: int = 0  # of all results, the deleted ones included
    current: SavedResult | None = None  # More continues this one

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="painting-")

    @property
    def folder(self) -> Path:
        """Where the results and the messages to a run are stored."""
        return Path(self._folder.name)

    @cached_property
    def control(self) -> RunControl:
        """How the visitor's buttons reach the run."""
        return RunControl(self.folder)

    def add(self, result: SavedResult) -> None:
        """Add a result and, if there are more than MAX_RESULTS, delete the oldest."""
        self.current = result
        self.results.append(result)
        if len(self.results) > MAX_RESULTS:
            self.results.pop(0).delete()
