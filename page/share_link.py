"""A link to the page: the settings and the page's own pictures, as the query of its address."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from styletransfer.errors import StyleTransferError
from styletransfer.settings import PRESETS, Settings, knobs

from .config import DEFAULT_PRESET
from .controls import CONTROLS, get_preset, slider_values
from .examples import example_name, examples, styles

VERSION = "2"
FOLDERS = {"photo": "content", "painting": "style", "second painting": "style"}
"""The pictures that a link can name, and where the page's own ones are under examples/."""
MARKS = {"mask": "keep", "region": "second_painting"}
"""The marks on a photo, which a link names but does not carry, and what it calls each."""
PARAMETERS = (*(what.replace(" ", "_") for what in FOLDERS), "marks", "preset", *CONTROLS)
PRESETS_OF_VERSION_1 = {
    name: replace(PRESETS[name], objective="gram", faces=False, tv_weight=0.0, iterations=iterations)
    for name, iterations in {"balanced": 75, "quick": 26, "best": 360, "classic": 300}.items()
}
"""What the presets were before links had a version. A link says only what differs from its preset."""


class Link(NamedTuple):
    """What a link opens the page with."""

    photo: str | None  # path
    painting: str | None  # path
    second_painting: str | None  # path
    preset: str
    settings: Settings
    ignored: tuple[str, ...]  # the parameters that made no sense
    marks: tuple[str, ...]  # what parts of the photo were marked for: of MARKS


def encode(pictures: Mapping[str, str | None], preset: str, values: Mapping[str, Any]) -> str:
    """Return the query of a link: what differs from the preset, and the pictures if they are the page's own.

    `pictures` are paths by what they are, as in FOLDERS and MARKS; `values` are those of the sliders. A visitor's own
    picture is never named, and of marks only that there are some. Raises StyleTransferError if there is no such preset.
    """
    defaults = slider_values(get_preset(preset))
    names = {what.replace(" ", "_"): name for what, path in pictures.items() if (name := _find_name(what, path))}
    marks = ",".join(mark for what, mark in MARKS.items() if pictures.get(what))
    changed = {name: values[name] for name in CONTROLS if values[name] != defaults[name]}
    return urlencode({"v": VERSION, **names, **({"marks": marks} if marks else {}), "preset": preset, **changed})


def describe_limits(pictures: Mapping[str, str | None]) -> str:
    """Say in one sentence what a link to these pictures, as in `encode`, does not carry."""
    own = [what for what in FOLDERS if (path := pictures.get(what)) and not _find_name(what, path)]
    is_marked = any(pictures.get(what) for what in MARKS)
    if not own:
        told = "the parts you marked: whoever opens it is told to mark them again."
        return f"A link cannot carry {told}" if is_marked else "This link opens the page exactly as it is now."
    listed = " and ".join(filter(None, [", ".join(own[:-1]), own[-1]]))
    return f"A link cannot carry your own {listed}{', nor what you marked' * is_marked}: whoever opens it adds theirs."


def describe_marks(marks: Collection[str]) -> str:
    """Say in one sentence to who opens a link that marks are missing, and how to make them again."""
    listed = {"keep": "to keep", "second_painting": "for the second painting"}
    why = " and ".join(said for mark, said in listed.items() if mark in marks)
    until = "; until then, the second painting is mixed in" if "second_painting" in marks else ""
    return (
        f"This link was made with parts marked {why}, which no link carries: press “Mark parts” to mark yours{until}."
    )


def _find_name(what: str, path: str | None) -> str | None:
    """Return the name of the picture if it is one of the page's own, or None."""
    return example_name(path, FOLDERS[what]) if what in FOLDERS else None


def decode(query: str) -> Link:
    """Read the query of a link; parameters that make no sense are listed and otherwise ignored."""
    given = dict(parse_qsl(query))
    ignored: list[str] = []

    def find(parameter: str, paths: dict[str | None, str]) -> str | None:
        path = paths.get(given.get(parameter))
        if parameter in given and not path:
            ignored.append(parameter)
        return path

    photo = find("photo", {example_name(example.photo, "content"): example.photo for example in examples()})
    paintings = {example_name(path, "style"): path for path, _ in styles()}
    painting, second_painting = find("painting", paintings), find("second_painting", paintings)
    marks = tuple(mark for mark in MARKS.values() if mark in given.get("marks", "").split(","))
    if "marks" in given and not marks:
        ignored.append("marks")
    preset = given.get("preset", DEFAULT_PRESET)
    try:
        settings = get_preset(preset) if "v" in given else PRESETS_OF_VERSION_1.get(preset) or get_preset(preset)
    except StyleTransferError:
        ignored.append("preset")
        preset = DEFAULT_PRESET
        settings = get_preset(preset)
    for name in CONTROLS:
        if name in given:
            try:
                settings = replace(settings, **{name: _read_value(name, given[name])})
            except (ValueError, OverflowError, StyleTransferError):
                ignored.append(name)
    return Link(photo, painting, second_painting, preset, settings, tuple(ignored), marks)


def clean(query: str) -> str:
    """Return the query of a link without what is not the page's: what sites add to it to follow their visitors, say."""
    return urlencode([(name, value) for name, value in parse_qsl(query) if name in ("v", *PARAMETERS)])


def _read_value(name: str, text: str) -> Any:
    """Return the value of the setting called `name`. Raises ValueError or OverflowError."""
    knob = knobs()[name]
    if knob.choices:
        return text
    if isinstance(getattr(Settings, name), bool):
        return {"True": True, "False": False}.get(text)  # None is refused by Settings
    return knob.value(float(text))
