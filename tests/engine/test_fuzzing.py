"""Random settings and damaged files raise nothing but the engine's own errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from styletransfer import Settings, StyleTransferError, images
from tests.data import encode, noise, one_sentence

QUICK = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3)
)


ANY_SETTINGS = given(st.dictionaries(st.sampled_from(sorted(Settings.__dataclass_fields__)), ANYTHING, max_size=4))


def check_settings(values: dict[str, Any]) -> None:
    try:
        made = Settings(**values)
    except StyleTransferError as error:
        assert one_sentence(error)
    else:
        assert made == Settings(**{name: getattr(made, name) for name in values})


@settings(QUICK)
@ANY_SETTINGS
def test_random_settings_are_accepted_or_refused_in_one_sentence(values: dict[str, Any]) -> None:
    check_settings(values)


@pytest.mark.slow
@settings(QUICK, max_examples=3000)
@ANY_SETTINGS
def test_random_settings_are_accepted_or_refused_in_one_sentence_at_length(values: dict[str, Any]) -> None:
    check_settings(values)


SEEDS = [encode(noise(), format) for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")]


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=6)
ANY_FILE = given(st.sampled_from(SEEDS), CHANGES, st.data())


def check_file(whole: bytes, changes: list[tuple[int, bytes]], data: st.DataObject) -> None:
    file = bytearray(whole)
    for at, new in changes:
        file[at % len(file) : at % len(file) + len(new)] = new
    cut = data.draw(st.integers(0, len(file)))
    try:
        image = images.load(bytes(file[: cut or None])).image
    except StyleTransferError as error:
        assert one_sentence(error)
    else:
        assert image.mode == "RGB"


@settings(QUICK)
@ANY_FILE
def test_a_damaged_file_is_read_or_refused_in_one_sentence(
    whole: bytes, changes: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    check_file(whole, changes, data)


@pytest.mark.slow
@settings(QUICK, max_examples=2000)
@ANY_FILE
def test_a_damaged_file_is_read_or_refused_in_one_sentence_at_length(
    whole: bytes, changes: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    check_file(whole, changes, data)
