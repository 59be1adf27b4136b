"""A setting is right, or refused in one sentence that names it; every knob says how it may be turned."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from styletransfer import PRESETS, Settings, SettingsError, StyleTransferError
from styletransfer.settings import LIKENESS, knobs

PAPERS_STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
WHOLE = ("size", "iterations", "stages", "seed")
REAL = ("content_weight", "style_weight", "tv_weight")


def refusal(name: str, **values: object) -> str:
    """The message of the SettingsError that `values` must raise: one sentence about `name`."""
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    message = str(caught.value)
    assert name in message
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


NO_NUMBERS = [None, "512", b"5", [512], (512,), {}, True, False, 1 + 2j, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", WHOLE + REAL)
def test_what_is_no_finite_number_is_refused(name: str, value: object):
    refusal(name, **{name: value})


@pytest.mark.parametrize("name", WHOLE + REAL)
def test_numbers_just_outside_the_range_are_refused_and_its_ends_taken(name: str):
    knob = knobs()[name]
    assert knob.low is not None and knob.high is not None
    for value in (knob.low, knob.high):
        assert getattr(Settings(**{name: value}), name) == value
    for value in (knob.low - 1, knob.high + 1):
        refusal(name, **{name: value})


@pytest.mark.parametrize("name", WHOLE + REAL)
def test_numbers_too_large_for_a_float_are_refused(name: str):
    for value in (-(10**400), 10**400):
        refusal(name, **{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_fractions_are_refused_where_a_whole_number_is_needed(name: str):
    knob = knobs()[name]
    assert knob.low is not None
    assert "whole number" in refusal(name, **{name: knob.low + 0.5})


@pytest.mark.parametrize("value", [512, 512.0, np.int64(512), np.float32(512), Fraction(512)], ids=repr)
def test_a_whole_number_of_any_type_becomes_an_int(value):
    size = Settings(size=value).size
    assert size == 512
    assert type(size) is int


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), Fraction(2)], ids=repr)
def test_a_number_of_any_type_becomes_a_float(value):
    weight = Settings(content_weight=value).content_weight
    assert weight == 2
    assert type(weight) is float


@pytest.mark.parametrize("name", ["init", "backbone", "objective"])
@pytest.mark.parametrize("value", ["", "vgg", "Content", None, 0, True, ["content"], b"noise"], ids=repr)
def test_an_unknown_choice_is_refused_with_the_known_ones(name: str, value: object):
    message = refusal(name, **{name: value})
    assert all(choice in message for choice in knobs()[name].choices)


@pytest.mark.parametrize("value", [0, 1, "true", None, np.True_], ids=repr)
@pytest.mark.parametrize("name", ["square", "faces"])
def test_a_switch_is_true_or_false_and_nothing_like_it(name: str, value: object):
    refusal(name, **{name: value})


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize(
    "value",
    [None, "conv4_2", b"conv4_2", 4, [], (), [4], [None], ["conv1_1", 2], {"conv1_1": 1}, ["conv1_1"] * 2],
    ids=repr,
)
def test_layers_that_are_no_list_of_different_names_are_refused(name: str, value: object):
    refusal(name, **{name: value})


@pytest.mark.parametrize(
    "value",
    [
        1,
        "11111",
        [],
        [1] * 4,
        [1] * 6,
        [1, 1, 1, 1, -1],
        [1, 1, 1, 1, math.nan],
        [1, 1, 1, 1, math.inf],
        [1, 1, 1, 1, "1"],
        [1, 1, 1, 1, None],
        {1: 1, 2: 1, 3: 1, 4: 1, 5: 1},
    ],
    ids=repr,
)
def test_layer_weights_that_are_no_number_for_each_style_layer_are_refused(value: object):
    refusal("style_layer_weights", style_layer_weights=value)


def test_a_layer_weight_too_large_for_a_float_is_refused():
    refusal("style_layer_weights", style_layer_weights=[1, 1, 1, 1, 10**400])


def test_a_layer_weight_that_is_true_is_refused():
    refusal("style_layer_weights", style_layer_weights=[True] * 5)


def test_the_limit_named_in_a_refusal_is_the_limit():
    assert str(2**32 - 1) in refusal("seed", seed=2**32)


def test_each_style_layer_has_an_equal_share_unless_weights_are_given():
    assert tuple(Settings().layer_weights("gram").values()) == pytest.approx((0.2,) * 5)
    two = Settings(style_layers=["conv3_1", "conv1_1"])
    assert two.layer_weights("gram") == two.layer_weights("moments") == {"conv3_1": 0.5, "conv1_1": 0.5}
    weighted = dataclasses.replace(two, style_layer_weights=[3, 1])
    assert weighted.layer_weights("gram") == weighted.layer_weights("moments") == {"conv3_1": 3.0, "conv1_1": 1.0}


def test_moments_weigh_most_in_the_shallow_layers():
    weights = list(Settings().layer_weights("moments").values())
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > weights[-1]
    assert sum(weights) == pytest.approx(1)
    reversed_layers = Settings(style_layers=Settings().style_layers[::-1]).layer_weights("moments")
    assert reversed_layers == Settings().layer_weights("moments"), "in whatever order the layers are named"


def test_the_named_positions_of_the_likeness_dial_are_within_its_range_and_in_order():
    assert list(LIKENESS.values()) == sorted(LIKENESS.values())
    assert LIKENESS["between"] == Settings().content_weight
    assert [Settings(content_weight=α).content_weight for α in LIKENESS.values()] == list(LIKENESS.values())


def test_what_a_caller_does_with_his_lists_later_changes_nothing():
    layers, weights = ["conv3_1", "conv1_1"], [3, 1]
    settings = Settings(style_layers=layers, style_layer_weights=weights)
    layers[0], weights[0] = "conv5_1", 7
    assert settings.style_layers == ("conv3_1", "conv1_1")
    assert settings.style_layer_weights == (3.0, 1.0)


def test_layers_are_those_of_content_and_style():
    assert set(Settings().layers) == {"conv4_2", *PAPERS_STYLE_LAYERS}


def test_settings_cannot_be_changed_and_can_be_compared_and_hashed():
    settings = Settings(size=512.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.size = 256
    assert settings == Settings(size=512)
    assert len({settings, Settings(size=512), Settings(size=256)}) == 2


def test_replacing_one_value_checks_it_too():
    assert dataclasses.replace(Settings(), size=256).size == 256
    with pytest.raises(SettingsError):
        dataclasses.replace(Settings(), size=1)


def test_a_refusal_can_be_caught_as_any_error_of_a_user_and_as_a_value_error():
    assert issubclass(SettingsError, StyleTransferError)
    assert issubclass(SettingsError, ValueError)


def test_every_setting_has_a_knob_with_help_and_a_default_that_it_can_be_turned_to():
    settings = Settings()
    assert list(knobs()) == [field.name for field in dataclasses.fields(Settings)]
    for name, knob in knobs().items():
        default = getattr(settings, name)
        assert knob.help and knob.help.endswith("."), name
        if knob.choices:
            assert default in knob.choices, name
        elif name in WHOLE + REAL:
            assert knob.low <= default <= knob.high, name
            assert 0 < knob.step <= knob.high - knob.low, name


@pytest.mark.parametrize("name", WHOLE + REAL)
def test_whole_steps_lead_from_one_end_of_a_range_to_the_other(name: str):
    knob = knobs()[name]
    scale = math.log10 if knob.log else float
    steps = (scale(knob.high) - scale(knob.low)) / knob.step
    assert steps == pytest.approx(round(steps), abs=1e-6)


def test_classic_is_the_configuration_of_the_paper():
    classic = PRESETS["classic"]
    assert (classic.size, classic.iterations, classic.stages, classic.square) == (512, 300, 1, True)
    assert (classic.init, classic.tv_weight, classic.tolerance) == ("content", 0, 0)
    assert classic.content_layers == ("conv4_2",)
    assert classic.style_layers == PAPERS_STYLE_LAYERS
    assert tuple(classic.layer_weights("gram").values()) == pytest.approx((0.2,) * 5)
    assert (classic.objective, classic.faces, classic.precision) == ("gram", False, "float32")


def test_presets_are_settings_that_nobody_can_replace():
    assert all(isinstance(preset, Settings) for preset in PRESETS.values())
    with pytest.raises(TypeError):
        PRESETS["classic"] = Settings()
