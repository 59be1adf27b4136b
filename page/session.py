"""What the server remembers of a visit, and how a tab finds it again when its connection was lost."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from gradio.utils import get_upload_folder

from .results import SavedResult
from .run import RUNS, Run
from .sketches import Sketches
from .storage import VISIT_PREFIX
from .worker import RunControl

MAX_RESULTS = 24
MAX_EDITS = 12  # besides those that are needed; a run that waits may want one that is no longer on the page
TOKEN_LENGTH = 32
SECONDS_KEPT = 3600.0  # since the last use; Gradio may forget a visit sooner, once its connection was lost


class Desk(NamedTuple):
    """What the page shows to paint with: paths of pictures, the preset, and where the controls stand."""

    photo: str | None = None
    painting: str | None = None
    second_painting: str | None = None
    keep: str | None = None  # a mask of the photo, white where it is kept
    region: str | None = None  # a mask of the photo, white where the second painting paints
    preset: str | None = None
    values: dict[str, Any] | None = None  # by the name of the setting


@dataclass(eq=False)
class Session:
    """What a visitor's buttons and their run share, and the pictures of the visit so far.

    Gradio gives each visitor a deep copy of a fresh one. The folder is created when it is first used, and therefore
    never copied; it is deleted together with the session. The `delete_callback` of gr.State would be too little and
    too much: Gradio does not call it when it drops a session for want of room, and calls it an hour after the
    connection was lost for a moment, even if the visitor is still painting.
    """

    token: str = ""  # by which its tab finds it again
    is_open: bool = False  # whether a page has opened it: not that of a program, nor one from before a restart
    running: bool = False
    beginning: RunControl | None = None  # of a run that was asked for and is not in the queue yet
    lost_place: bool = False  # whether the last press on Paint was lost with the page before
    wants_next: bool = False  # whether to paint once more, with what the page then shows
    offered: str = ""  # what the style is called that was pressed during a run, with the photo if that is another one
    follows: bool = False  # whether the run that is on follows one of which a picture is kept
    photos: list[str] = field(default_factory=list)  # paths of those that are to be painted after the run that is on
    photo_count: int = 0  # of how many the run that is on paints one
    failures: list[str] = field(default_factory=list)  # a sentence for each of them that cannot be painted
    own_painting: str | None = None  # path of the one that the visitor uploaded last
    desk: Desk = field(default_factory=Desk)
    run: Run | None = None  # the one that is on, or whose picture could not be saved
    sketches: Sketches | None = None  # on the wall
    results: list[SavedResult] = field(default_factory=list)
    stems: set[str] = field(default_factory=set)  # of all results, the deleted ones included
    unsent: list[SavedResult] = field(default_factory=list)  # those that no browser has been told of
    current: SavedResult | None = None  # More continues this one
    has_forgotten_current: bool = False  # whether a picture was, which the page may still show
    edits: list[str] = field(default_factory=list)  # files that were made from a photo: turned, cropped, masks
    before_edit: dict[str, tuple[str | None, ...]] = field(default_factory=dict)  # the photo and masks before, by photo
    photo_on_editor: str = ""  # which crop or brush was opened for last
    masks: dict[str, str] = field(default_factory=dict)  # the photo of each mask among them
    _control: RunControl | None = None

    @cached_property
    def folder(self) -> Path:
        """Where the results and the messages to a run are stored.

        It is one that Gradio serves files from, to whoever knows their name, so that Gradio makes no second copy.
        """
        folder = Path(get_upload_folder()) / f"{VISIT_PREFIX}{secrets.token_hex(32)}"
        folder.mkdir(parents=True)
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @property
    def control(self) -> RunControl:
        """How the visitor's buttons reach the run, that is on or about to begin."""
        return self._control or self.renew_control()

    def renew_control(self) -> RunControl:
        """Begin another run: what was told to the one before, which may still be at its last step, is not for it."""
        self._control = RunControl(Path(tempfile.mkdtemp(dir=self.folder)))
        return self._control

    def leave_run(self) -> None:
        """Stop the run that is on, or about to begin, and forget those that were to follow: nobody sees them."""
        if self.running:
            self.control.stop()
        if self.run:
            self.run.control.stop()
        self.run, self.beginning, self.running = None, None, False
        self.wants_next, self.follows, self.offered = False, False, ""
        self.photos, self.photo_count, self.failures = [], 0, []

    def add(self, result: SavedResult) -> None:
        """Add a result and, if there are more than MAX_RESULTS, delete the oldest."""
        self.current, self.has_forgotten_current = result, False
        self.results.append(result)
        if self.is_open:  # a program has no strip
            self.unsent = [*self.unsent, result][-MAX_RESULTS:]
        if len(self.results) > MAX_RESULTS:
            self.results.pop(0).delete()

    def forget(self, ids: AbstractSet[str]) -> None:
        """Delete the results with these ids."""
        for result in self.results:
            if result.id in ids:
                result.delete()
        self.results = [result for result in self.results if result.id not in ids]
        self.unsent = [result for result in self.unsent if result.id not in ids]
        if self.current and self.current.id in ids:
            self.current, self.has_forgotten_current = None, True

    def add_edit(self, path: str) -> None:
        """Add a file of photo_tools. If more than MAX_EDITS of them are not needed, delete the oldest."""
        self.edits.append(path)
        needed = self.files | {result.photo for result in self.results}
        if self.run:
            needed |= self.run.request.files
        for old in [edit for edit in self.edits if edit not in needed][:-MAX_EDITS]:
            shutil.rmtree(Path(old).parent, ignore_errors=True)  # each has a folder of its own
            self.edits.remove(old)
            self.masks.pop(old, None)

    @property
    def files(self) -> set[str]:
        """The files that this visit needs: what it would paint with, and what it has painted."""
        desk, current, sketches = self.desk, self.current, self.sketches  # another thread may take them away
        results = [*self.results, *([current] if current else [])]
        masks = [mask for result in results for mask in (result.keep, result.region)]
        chosen: Iterable[str | None] = (desk.photo, desk.painting, desk.second_painting, desk.keep, desk.region, *masks)
        wall = sketches.files if sketches else set[str]()
        return (
            {path for path in (*chosen, *self.photos) if path}
            | {path for result in results for path in result.files}
            | wall
        )


class Visits:
    """The sessions of tabs that are open, or were an hour ago, by a secret that each tab keeps."""

    def __init__(self) -> None:
        self._kept: dict[Session, float] = {}  # when each was last used
        self._sessions: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()

    def open(self, token: str, fresh: Session) -> Session:
        """Return the session of this tab; `fresh` becomes it if there is none."""
        could_be_guessed = len(token) < TOKEN_LENGTH
        session = fresh if could_be_guessed else self._sessions.setdefault(token, fresh)
        session.is_open = True
        session.token = "" if could_be_guessed else token
        return session

    def keep(self, session: Session) -> None:
        """Keep a session for an hour from now, also if Gradio drops it."""
        if session.token:
            self._kept[session] = time.monotonic()

    def find(self, token: str) -> Session | None:
        """Return the session of a tab, or None if there is none."""
        return self._sessions.get(token)

    def find_result(self, id: str, session: Session) -> SavedResult | None:
        """Return a result of `session`, or of another tab, by its id; None if its files are no longer there.

        The id is a secret of the browser that has these tabs.
        """
        for other in (session, *self._all()):
            for result in other.results:
                if result.id == id and result.is_whole:
                    return result
        return None

    def forget_results(self, ids: AbstractSet[str], session: Session) -> None:
        """Delete the results with these ids, whether of `session` or of other tabs."""
        for other in (session, *self._all()):
            other.forget(ids)

    def _all(self) -> list[Session]:
        """All sessions, also while another thread adds one, which ends a loop over `values()` with an error."""
        return [session for reference in self._sessions.valuerefs() if (session := reference())]

    def files(self) -> set[str]:
        """The files that any of these visits needs, or any run. Forgets the sessions that were not used for an hour."""
        for session, used in list(self._kept.items()):
            if time.monotonic() - used > SECONDS_KEPT:
                del self._kept[session]
        painted = {file for run in list(RUNS) for file in run.request.files}
        return painted | {file for session in self._all() for file in session.files}


VISITS = Visits()
