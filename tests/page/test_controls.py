"""The sliders of the page, and the settings that they stand for."""

from __future__ import annotations

import inspect

from gradio_client import Client

from page import controls
from styletransfer.settings import STEERABLE, knobs
from tests.page.helpers import COMPONENTS, HANDLERS


def test_every_preset_puts_the_sliders_where_its_settings_are(client: Client) -> None:
    for preset, settings in controls.PRESETS.items():
        values = controls.slider_values(settings)
        named = {name: knobs()[name].value(value) for name, value in values.items()}
        assert named == {name: getattr(settings, name) for name in controls.CONTROLS}
        assert controls.to_settings(preset, values) == settings


def test_what_can_be_changed_during_a_run_has_a_control_that_is_live() -> None:
    assert set(controls.LIVE_CONTROLS) == set(STEERABLE)
    assert (*controls.START_CONTROLS, *controls.LIVE_CONTROLS) == controls.CONTROLS
    assert tuple(COMPONENTS.controls) == controls.CONTROLS


def test_the_endpoint_takes_the_controls_in_the_order_in_which_the_page_sends_them() -> None:
    parameters = [name.removesuffix("_power_of_ten") for name in inspect.signature(HANDLERS.stylize).parameters]
    pictures = ["photo", "painting"]
    added = ["second_painting", "likeness", "keep", "region"]  # what has come since stands last, so that old calls work
    assert parameters == ["session", *pictures, "preset", *controls.CONTROLS, *added]
