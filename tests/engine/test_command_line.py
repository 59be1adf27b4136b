"""The command line: what it writes, what it says, how it is interrupted; bad input costs one line."""

from __future__ import annotations

import contextlib
import csv
import errno
import itertools
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from styletransfer import PRESETS, Frame, Settings, SettingsError, backbones, metadata, neighbours, stylize, weights
from styletransfer import __main__ as command_line
from styletransfer.__main__ import main
from tests.data import ROOT

LAYERS = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1")}  # few, to be quick
SMALL = [
    *("--size", "64", "--iterations", "4", "--backbone", "vgg16"),
    *("--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1"),
]
DEADLINE = 120  # seconds; far more than anything here takes


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with photo.png (80×64) and painting.png (64×64), and no VGG-19 on this machine."""
    y, x = np.mgrid[0:64, 0:80]
    photo = np.stack([x * 3, y * 4, 255 - x * 2], axis=-1)
    painting = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    for name, pixels in (("photo", photo), ("painting", painting)):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "no-hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # pictures this small gain nothing from more
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Settings, Any]]:
    """A function that gives the settings and the backbone that a command line asks the engine for, without a mask."""

    def ask(*flags: str) -> tuple[Settings, Any]:
        calls: list[tuple[Settings, Any]] = []

        def note(
            content: object, style: object, settings: Settings, backbone: Any, keep: object, regions: object
        ) -> Iterator[Frame]:
            assert keep is regions is None
            calls.append((settings, backbone))
            raise SettingsError("That is all.")

        monkeypatch.setattr(command_line, "stylize", note)
        assert main(["photo.png", "painting.png", "-o", "out.png", *flags]) == 2
        return calls[0]

    return ask


def paint(*flags: str) -> int:
    return main(["photo.png", "painting.png", "-o", "out.png", *flags])


def refusal(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """The one line that is said of `argv`, whose exit code must be 2."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("styletransfer: ")
    assert captured.err.endswith("\n")
    assert len(captured.err.splitlines()) == 1
    return captured.err


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_is_painting(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 51))


# What it writes


def test_a_painting_is_saved_and_nothing_else_is_left_behind(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("--size", "64", "--iterations", "4") == 0
    assert_is_painting(desk / "out.png")
    assert sorted(path.name for path in desk.iterdir()) == ["out.png", "painting.png", "photo.png"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"styletransfer: Saved out\.png \(64×51 pixels, \d+\.\d seconds\)\.", captured.err.splitlines()[-1]
    )


def test_the_saved_picture_is_the_engines_last(desk: Path) -> None:
    assert paint(*SMALL) == 0
    settings = Settings(size=64, iterations=4, backbone="vgg16", **LAYERS)
    *_, last = stylize(Image.open("photo.png"), Image.open("painting.png"), settings)
    assert np.array_equal(np.asarray(Image.open("out.png")), np.asarray(last.picture))


def test_an_older_picture_is_replaced(desk: Path) -> None:
    (desk / "out.png").write_text("old")
    assert paint(*SMALL) == 0
    assert_is_painting(desk / "out.png")


def test_the_suffix_chooses_the_format(desk: Path) -> None:
    assert main(["photo.png", "painting.png", "-o", "out.JPG", *SMALL]) == 0
    with Image.open(desk / "out.JPG") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 51))


def test_the_log_has_the_losses_of_every_iteration_in_full(desk: Path) -> None:
    settings = Settings(
        size=64, iterations=6, content_weight=2, style_weight=1e7, tv_weight=3, backbone="vgg16", **LAYERS
    )
    weights_αβγ = ["--content-weight", "2", "--style-weight", "1e7", "--tv-weight", "3"]
    assert paint(*SMALL, "--iterations", "6", *weights_αβγ, "--log", "losses.csv") == 0

    header = "iteration,size,seconds,content,style,tv,total\n"
    assert (desk / "losses.csv").read_bytes().startswith(header.encode())
    logged = rows(desk / "losses.csv")
    assert [row["iteration"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert {row["size"] for row in logged} == {64}
    assert all(math.isfinite(value) for row in logged for value in row.values())
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(logged))
    for row in logged:
        total = 2 * row["content"] + 1e7 * row["style"] + 3 * row["tv"]
        assert math.isclose(row["total"], total, rel_tol=1e-5)
    frames = stylize(Image.open("photo.png"), Image.open("painting.png"), settings)
    for row, frame in zip(logged, frames, strict=True):
        assert (row["content"], row["style"], row["tv"], row["total"]) == frame.losses


# What it asks the engine for


def test_an_older_log_is_replaced_by_a_run_and_left_by_one_that_cannot_begin(desk: Path) -> None:
    log = desk / "losses.csv"
    log.write_text("an older run's rows\n" * 100)
    assert paint(*SMALL, "--style-layers", "conv9_9", "--log", "losses.csv") == 2
    assert log.read_text() == "an older run's rows\n" * 100
    assert paint(*SMALL, "--log", "losses.csv") == 0
    assert [row["iteration"] for row in rows(log)] == [1, 2, 3, 4]


def test_without_flags_a_run_has_the_default_settings(asked_for: Callable[..., Any]) -> None:
    assert asked_for() == (Settings(), None)


def test_flags_replace_fields_of_the_preset_and_leave_the_others(asked_for: Callable[..., Any]) -> None:
    assert asked_for("--preset", "classic")[0] == PRESETS["classic"]
    settings, _ = asked_for("--preset", "classic", "--size", "96", "--no-square")
    assert settings == replace(PRESETS["classic"], size=96, square=False)


def test_every_setting_has_a_flag(asked_for: Callable[..., Any]) -> None:
    flags = {
        "--size": "96",
        "--iterations": "7",
        "--content-weight": "0.5",
        "--style-weight": "2e3",
        "--tv-weight": "4",
        "--colours": "matched",
        "--stroke": "1.5",
        "--mix": "0.2",
        "--stages": "2",
        "--tolerance": "0.7",
        "--init": "noise",
        "--seed": "4294967295",
        "--backbone": "vgg16",
        "--objective": "moments",
        "--precision": "float32",
        "--content-layers": "conv3_1,conv4_1",
        "--style-layers": "conv1_1,conv2_1",
        "--style-layer-weights": "1,0.25",
    }
    settings, _ = asked_for("--square", "--no-relative-style", "--no-faces", *itertools.chain(*flags.items()))
    assert settings == Settings(
        size=96,
        iterations=7,
        content_weight=0.5,
        style_weight=2e3,
        tv_weight=4,
        colours="matched",
        stroke=1.5,
        mix=0.2,
        stages=2,
        tolerance=0.7,
        init="noise",
        seed=4294967295,
        square=True,
        relative_style=False,
        backbone="vgg16",
        objective="moments",
        precision="float32",
        faces=False,
        content_layers=("conv3_1", "conv4_1"),
        style_layers=("conv1_1", "conv2_1"),
        style_layer_weights=(1, 0.25),
    )
    same = [field.name for field in fields(Settings) if getattr(settings, field.name) == field.default]
    assert not same, "this test gives no flag for them"


@pytest.mark.parametrize("flags", [["--no-faces"], ["--preset", "classic"]])
def test_faces_are_kept_unless_a_flag_or_the_preset_says_no(flags: list[str], asked_for: Callable[..., Any]) -> None:
    assert asked_for()[0].faces is True
    assert asked_for(*flags)[0].faces is False
    assert asked_for(*flags, "--faces")[0].faces is True


def test_weights_of_the_users_own_are_painted_with(
    asked_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "vgg19", lambda file, precision: f"backbone of {file} in {precision}")
    settings, backbone = asked_for("--weights", "my.pth")
    assert settings == Settings(backbone="vgg19")
    assert backbone == "backbone of my.pth in auto"


def test_vgg19_asked_for_by_name_is_downloaded_with_a_bar(
    asked_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ""

    def download(progress: Callable[[int, int], object]) -> Path:
        nonlocal shown
        deadline = time.monotonic() + DEADLINE
        for done in itertools.count(1000, 1000):
            progress(done, 10**12)
            shown += capsys.readouterr().err
            if shown or time.monotonic() > deadline:
                return Path("vgg19.pth")
        raise AssertionError

    monkeypatch.setattr(weights, "download_vgg19", download)
    settings, backbone = asked_for("--backbone", "vgg19")
    assert "VGG-19" in shown
    assert "1.00T" in shown
    assert (settings.backbone, backbone) == ("vgg19", None)


def test_nothing_but_vgg19_by_name_is_downloaded(
    asked_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "download_vgg19", lambda progress: pytest.fail("downloads"))
    asked_for()
    asked_for("--backbone", "vgg16")
    monkeypatch.setattr(weights, "cached_vgg19", lambda: Path("vgg19.pth"))
    asked_for("--backbone", "vgg19")


def save_mask(desk: Path) -> None:
    """mask.png: the photo's right half is white."""
    Image.fromarray(np.repeat([[0, 255]], 30, axis=0).repeat(15, axis=1).astype(np.uint8)).save(desk / "mask.png")


def test_a_mask_reaches_the_run_and_the_picture_says_that_there_was_one(desk: Path) -> None:
    save_mask(desk)
    assert paint(*SMALL, "--keep", "mask.png") == 0
    settings = Settings(size=64, iterations=4, backbone="vgg16", **LAYERS)
    pictures = Image.open("photo.png"), Image.open("painting.png")
    (*_, kept), (*_, plain) = (list(stylize(*pictures, settings, keep=keep)) for keep in (Image.open("mask.png"), None))
    saved = np.asarray(Image.open("out.png"))
    assert np.array_equal(saved, np.asarray(kept.picture))
    assert not np.array_equal(saved, np.asarray(plain.picture))
    assert metadata.is_masked(desk / "out.png")
    assert metadata.read_settings(desk / "out.png") == settings
    assert paint(*SMALL) == 0
    assert not metadata.is_masked(desk / "out.png")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--keep", "--keep"),
        ("--keep missing.png", "missing.png was not found"),
        ("--keep text.png", "text.png is not in a"),
        ("--keep mask.png -o mask.png", "mask.png is named twice"),
        ("--keep mask.png --log mask.png", "mask.png is named twice"),
    ],
)
def test_a_bad_mask_costs_one_line(desk: Path, capsys: pytest.CaptureFixture[str], flags: str, reason: str) -> None:
    save_mask(desk)
    (desk / "text.png").write_text("not a picture")
    before = (desk / "mask.png").read_bytes()
    assert reason in refusal(capsys, ["photo.png", "painting.png", "-o", "out.png", *SMALL, *flags.split()])
    assert not (desk / "out.png").exists()
    assert (desk / "mask.png").read_bytes() == before


def test_each_painting_paints_its_region_and_the_picture_says_so(desk: Path) -> None:
    save_mask(desk)
    Image.new("RGB", (80, 80), (200, 30, 30)).save(desk / "a=b.png")
    pictures = ["photo.png", "painting.png", "a=b.png"]
    assert main([*pictures, "-o", "out.png", *SMALL, "--region", "./a=b.png=mask.png"]) == 0
    settings = Settings(size=64, iterations=4, backbone="vgg16", **LAYERS)
    paintings = Image.open("painting.png"), Image.open("a=b.png")
    *_, last = stylize(Image.open("photo.png"), paintings, settings, regions=(None, Image.open("mask.png")))
    assert np.array_equal(np.asarray(Image.open("out.png")), np.asarray(last.picture))
    assert metadata.is_in_regions(desk / "out.png")
    assert not metadata.is_masked(desk / "out.png")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--region mask.png", "write PAINTING=MASK, with one of the paintings painting.png, second.png"),
        ("--region other.png=mask.png", "write PAINTING=MASK"),
        ("--region second.png=missing.png", "missing.png was not found"),
        ("--region second.png=", "write PAINTING=MASK"),
        ("--region second.png=mask.png --region second.png=mask.png", "second.png is given two regions"),
        ("--region second.png=mask.png -o mask.png", "mask.png is named twice"),
    ],
)
def test_a_bad_region_costs_one_line(desk: Path, capsys: pytest.CaptureFixture[str], flags: str, reason: str) -> None:
    save_mask(desk)
    Image.open("painting.png").transpose(Image.Transpose.ROTATE_90).save(desk / "second.png")
    before = (desk / "mask.png").read_bytes()
    assert reason in refusal(
        capsys, ["photo.png", "painting.png", "second.png", "-o", "out.png", *SMALL, *flags.split()]
    )
    assert not (desk / "out.png").exists()
    assert (desk / "mask.png").read_bytes() == before


@pytest.fixture
def long_search(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of a run whose neighbours are searched in several parts, at 96 pixels."""
    monkeypatch.setattr(neighbours, "CHUNK", 100 * 24 * 24)
    return [*SMALL, "--size", "192", "--stages", "2"]


@pytest.mark.slow
def test_frames_that_come_again_while_neighbours_are_searched_have_no_rows(desk: Path, long_search: list[str]) -> None:
    settings = Settings(size=192, stages=2, iterations=4, backbone="vgg16", **LAYERS)
    frames = list(stylize(Image.open("photo.png"), Image.open("painting.png"), settings))
    assert [frame.iteration for frame in frames[:2]] == [0, 0], "the search is long enough to see"
    assert paint(*long_search, "--log", "losses.csv") == 0
    logged = rows(desk / "losses.csv")
    assert [row["iteration"] for row in logged] == [1, 2, 3, 4]
    assert [row["size"] for row in logged] == [96, 96, 192, 192]
    assert all(math.isfinite(value) for row in logged for value in row.values())


def test_the_bar_counts_no_frame_that_comes_again(long_search: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(*long_search) == 0
    said = capsys.readouterr().err
    assert "4/4 " in said
    assert not re.search(r"\b([5-9]|0)/4 ", said), "the bar comes with the first step"
    assert "nan" not in said


# What it says


@pytest.mark.slow
def test_the_bar_shows_the_losses_of_the_log(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(*SMALL, "--iterations", "100", "--log", "losses.csv") == 0
    shown = capsys.readouterr().err.splitlines()[-2]
    assert re.search(r"100/100 .*, left=00:00, size=64, content=", shown)
    last = rows(desk / "losses.csv")[-1]
    for name in ("content", "style", "tv", "total"):
        number = re.search(rf"\b{name}=([\d.e+-]+)", shown)
        assert number
        assert float(number[1]) == pytest.approx(last[name], rel=0.005)  # three digits


def test_quiet_says_nothing_of_a_run_that_goes_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(*SMALL, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_a_second_choice_of_backbone_is_said_with_the_way_to_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert paint(*SMALL, "--backbone", "auto", "--quiet") == 0
    said = capsys.readouterr().err
    assert "Painted with VGG-16" in said
    assert "--backbone vgg19" in said


def test_a_picture_that_is_reduced_is_named(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4200, 2100)).save(desk / "huge.bmp")
    assert main(["huge.bmp", "painting.png", "-o", "out.png", *SMALL, "--quiet"]) == 0
    assert re.fullmatch(r"styletransfer: huge\.bmp: .*4200×2100.*\n", capsys.readouterr().err)


def test_help_has_every_flag_with_its_range_and_default() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "styletransfer", "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "1", "COLUMNS": "200"},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for field in fields(Settings):
        assert "--" + field.name.replace("_", "-") in done.stdout
    for said in ("--weights", "--preset {balanced,quick,best,classic}", "[64 to 8192; 512]", "[0 to 4294967295; 0]"):
        assert said in done.stdout
    assert "[conv1_1,conv2_1,conv3_1,conv4_1,conv5_1]" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_prints_in_an_encoding_without_greek_letters(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "styletransfer", "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--style-layer-weights" in done.stdout


# Bad input


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--size 63", "size must be a whole number from 64 to 8192"),
        ("--size 64.5", "--size"),
        ("--size inf", "--size"),
        ("--iterations 0", "iterations must be"),
        ("--style-weight nan", "style_weight must be"),
        ("--content-weight inf", "content_weight must be"),
        ("--content-weight -1", "content_weight must be"),
        ("--seed -1", "seed must be"),
        ("--init photo", "--init"),
        ("--preset finest", "--preset"),
        ("--backbone vgg17", "--backbone"),
        ("--style-layers conv1_1,conv9_1", "no layer 'conv9_1'"),
        ("--content-layers ,", "content_layers"),
        ("--style-layers conv1_1,conv2_1 --style-layer-weights 1", "2 style layers"),
        ("--style-layer-weights 1,two", "'1,two'"),
        ("--iter 5", "--iter"),
        ("third.png", "third.png"),
        ("--log", "--log"),
        ("--weights missing.pth", "missing.pth"),
        ("--weights photo.png", "photo.png"),
        ("--weights photo.png --backbone vgg16", "--backbone vgg16"),
        ("--log folder", "folder"),
        ("--log missing/losses.csv", "No such file"),
        ("--log photo.png", "photo.png is named twice"),
        ("--log out.png", "out.png is named twice"),
        ("--log second-name.png", "second-name.png is named twice"),
        ("-o link-to-photo.png", "link-to-photo.png is named twice"),
        ("-o ./painting.png", "painting.png is named twice"),
        ("-o missing/out.png", "No such file"),
        ("-o photo.png/out.png", "Not a directory"),
        ("-o folder", "folder is a folder"),
        ("-o out", "out is not named like a picture"),
        ("-o out.psd", "out.psd is not named like a picture"),
        ("-o out.xbm", "out.xbm cannot be written"),
        (f"-o {'long' * 64}.png", "File name too long"),
    ],
)
def test_bad_input_costs_one_line(desk: Path, capsys: pytest.CaptureFixture[str], flags: str, reason: str) -> None:
    (desk / "folder").mkdir()
    (desk / "link-to-photo.png").symlink_to("photo.png")
    (desk / "second-name.png").hardlink_to("photo.png")
    before = {path: path.read_bytes() for path in desk.iterdir() if path.is_file()}
    argv = ["photo.png", "painting.png", "-o", "out.png", *SMALL, "--backbone", "auto", *flags.split()]
    assert reason in refusal(capsys, argv)
    assert {path: path.read_bytes() for path in desk.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("content", "style", "reason"),
    [
        ("missing.png", "painting.png", "missing.png was not found"),
        ("photo.png", "text.png", "text.png is not in a"),
        ("photo.png", "half.png", "half.png is damaged"),
        (".", "painting.png", "is a folder"),
        ("https://example.com/photo.jpg", "painting.png", "photo.jpg is an address on the internet"),
        ("-", "painting.png", "is not read from standard input"),
        ("photo.png", "strip.png", "too narrow"),
    ],
)
def test_a_bad_picture_costs_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], content: str, style: str, reason: str
) -> None:
    (desk / "text.png").write_text("not a picture")
    (desk / "half.png").write_bytes((desk / "painting.png").read_bytes()[:6000])
    Image.new("RGB", (1600, 16)).save(desk / "strip.png")
    assert reason in refusal(capsys, [content, style, "-o", "out.png", *SMALL])
    assert not (desk / "out.png").exists()


def test_a_name_of_two_lines_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "two?lines" in refusal(capsys, ["photo.png", "painting.png", "-o", "two\nlines/out.png"])


def test_no_arguments_at_all_cost_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "CONTENT, STYLE" in refusal(capsys, [])


def test_vgg19_out_of_reach_costs_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:  # bound but not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setattr(weights, "VGG19_URL", f"http://127.0.0.1:{port}/vgg19-dcbb9e9d.pth")
        argv = ["photo.png", "painting.png", "-o", "out.png", "--backbone", "vgg19"]
        assert "VGG-19 could not be downloaded" in refusal(capsys, argv)
    assert not (desk / "out.png").exists()


# Runs that end early


def run_interrupted_at(iteration: int, number: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a run that gets signal `number` while it works on what follows that iteration."""

    def interrupted(*args: Any, **options: Any) -> Iterator[Frame]:
        if iteration == 0:
            signal.raise_signal(number)
        for frame in stylize(*args, **options):
            yield frame
            if frame.iteration == iteration:
                signal.raise_signal(number)

    monkeypatch.setattr(command_line, "stylize", interrupted)
    return paint(*SMALL, "--quiet", "--log", "losses.csv")


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
)
def test_an_interrupted_run_saves_what_it_had(
    desk: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    exit_code: int,
) -> None:
    def callers(number: int, frame: object) -> None: ...

    before = signal.signal(number, callers)
    try:
        assert run_interrupted_at(2, number, monkeypatch) == exit_code
    finally:
        after = signal.signal(number, before)
    assert after is callers
    assert capsys.readouterr().err == "styletransfer: Interrupted at iteration 2 of 4: saved as out.png.\n"
    assert_is_painting(desk / "out.png")
    assert len(rows(desk / "losses.csv")) == 2


def test_interrupted_before_the_first_picture_an_older_one_stays(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "out.png").write_text("old")
    assert run_interrupted_at(0, signal.SIGINT, monkeypatch) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert (desk / "out.png").read_text() == "old"


def test_interrupted_while_the_first_neighbours_are_searched_an_older_picture_stays(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, long_search: list[str]
) -> None:
    def interrupted(*args: Any, **options: Any) -> Iterator[Frame]:
        for frame in stylize(*args, **options):
            yield frame
            assert frame.iteration == 0
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command_line, "stylize", interrupted)
    (desk / "out.png").write_text("old")
    assert paint(*long_search, "--log", "losses.csv") == 130
    said = capsys.readouterr().err
    assert said == "styletransfer: Interrupted before there was a picture: nothing is saved.\n"
    assert (desk / "out.png").read_text() == "old"
    assert (desk / "losses.csv").read_text() == ""


def test_a_second_interrupt_does_not_stop_the_saving(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def interrupted_save(image: Image.Image, path: Path, **options: Any) -> None:
        if image.size == (64, 51):
            signal.raise_signal(signal.SIGINT)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupted_save)
    assert run_interrupted_at(2, signal.SIGINT, monkeypatch) == 130
    assert_is_painting(desk / "out.png")


def test_a_log_that_breaks_off_costs_one_line_and_not_the_picture(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(desk / "losses.fifo")

    def read_two_lines() -> None:
        with (desk / "losses.fifo").open() as log:
            log.readline(), log.readline()

    reader = threading.Thread(target=read_two_lines, daemon=True)
    reader.start()
    argv = ["photo.png", "painting.png", "-o", "out.png", *SMALL, "--iterations", "2000", "--quiet"]
    said = refusal(capsys, [*argv, "--log", "losses.fifo"])
    assert "losses.fifo cannot be written" in said
    assert re.search(r"The run ended at iteration \d+ of 2000: saved as out\.png\.$", said)
    reader.join()
    assert_is_painting(desk / "out.png")


def test_a_full_disk_costs_one_line_and_an_older_picture_stays(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "out.png").write_text("old")
    save = Image.Image.save

    def save_until_full(image: Image.Image, path: Path, **options: Any) -> None:
        if image.size == (64, 51):
            path.write_text("a beginn")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", save_until_full)
    argv = ["photo.png", "painting.png", "-o", "out.png", *SMALL, "--quiet"]
    assert "out.png cannot be written (No space left on device)" in refusal(capsys, argv)
    assert (desk / "out.png").read_text() == "old"
    assert sorted(path.name for path in desk.iterdir()) == ["out.png", "painting.png", "photo.png"]


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_saves_what_was_painted(desk: Path) -> None:
    flags = [*SMALL, "--iterations", "2000", "--log", str(desk / "losses.csv")]
    pictures = [str(desk / name) for name in ("photo.png", "painting.png")]
    process = subprocess.Popen(
        [sys.executable, "-m", "styletransfer", *pictures, "-o", str(desk / "out.png"), *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        deadline = time.monotonic() + DEADLINE
        log = desk / "losses.csv"
        while not (log.exists() and log.read_text().count("\n") >= 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    told = re.fullmatch(
        r"styletransfer: Interrupted at iteration (\d+) of 2000: saved as .*out\.png\.", said.splitlines()[-1]
    )
    assert told
    assert int(told[1]) - len(rows(log)) in (0, 1)  # the signal may come between a picture and its row
    assert_is_painting(desk / "out.png")


@pytest.mark.slow
def test_a_terminal_that_is_closed_costs_no_picture(desk: Path) -> None:
    log, out = desk / "losses.csv", desk / "out.png"
    pictures = [str(desk / name) for name in ("photo.png", "painting.png")]
    terminal, its_end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "styletransfer", *pictures, "-o", str(out), *SMALL, "--iterations=2000", f"--log={log}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    os.close(its_end)
    threading.Thread(target=read_until_closed, args=(terminal,), daemon=True).start()
    try:
        deadline = time.monotonic() + DEADLINE
        while not (log.exists() and log.read_text().count("\n") >= 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        process.wait(DEADLINE)
    finally:
        process.kill()
    assert_is_painting(out)


def read_until_closed(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_a_run_under_nohup_goes_on_when_the_terminal_is_closed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_interrupted_at(2, signal.SIGHUP, monkeypatch) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(rows(desk / "losses.csv")) == 4


def test_a_tilde_in_quotes_is_the_home_folder(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk))
    argv = ["~/photo.png", "~/painting.png", "-o", "~/painted.png", "--log", "~/losses.csv", *SMALL, "--quiet"]
    assert command_line.main([*argv, "--backbone", "vgg16"]) == 0
    assert_is_painting(desk / "painted.png")
    assert len(rows(desk / "losses.csv")) == 4


def test_a_saved_png_says_how_it_was_made(desk: Path) -> None:
    assert paint(*SMALL, "--mix", "0.25", "--colours", "matched") == 0
    said = metadata.read_settings(desk / "out.png")
    assert said
    assert (said.size, said.iterations, said.mix, said.colours) == (64, 4, 0.25, "matched")


def test_a_saved_jpeg_says_how_it_was_made_too(desk: Path) -> None:
    argv = ["photo.png", "painting.png", *SMALL, "--backbone", "vgg16", "-o", "out.jpg", "--quiet"]
    assert command_line.main(argv) == 0
    said = metadata.read_settings(desk / "out.jpg")
    assert said
    assert (said.size, said.iterations) == (64, 4)


def test_two_paintings_are_mixed_and_three_are_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y, x = np.mgrid[0:64, 0:64]
    Image.fromarray((np.stack([x, y, x], axis=-1) * 3).astype(np.uint8)).save(desk / "other.png")
    pictures = []
    for paintings in (["painting.png"], ["painting.png", "other.png"]):
        assert main(["photo.png", *paintings, "-o", "out.png", *SMALL]) == 0
        pictures.append(np.asarray(Image.open("out.png"), dtype=float))
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.5
    capsys.readouterr()
    assert main(["photo.png", *["painting.png"] * 3, "-o", "out.png", *SMALL]) == 2
    assert "one painting, or two to be mixed, not 3" in capsys.readouterr().err


# Where the picture goes when it cannot go where it was asked for


def test_a_mounted_file_is_written_in_place(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "outside.png").write_bytes(b"old" * 100_000)  # longer than the picture
    (desk / "out.png").touch()
    mount = ["mount", "--bind", desk / "outside.png", desk / "out.png"]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        assert paint(*SMALL, "--quiet") == 0
        assert_is_painting(desk / "outside.png")
    finally:
        subprocess.run(["umount", desk / "out.png"], check=True)
    assert capsys.readouterr().err == ""
    assert len(list(desk.iterdir())) == 4, "nothing else is left behind"


def fail_replacing(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    """Make renaming to `target` fail as it does for a mounted file."""
    replace_file = os.replace

    def fail(source: Path, path: Path) -> None:
        if path == target:
            raise OSError(errno.EBUSY, "Device or resource busy")
        replace_file(source, path)

    monkeypatch.setattr(os, "replace", fail)


def test_a_file_that_cannot_be_replaced_is_written_in_place(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "out.png").write_text("old")
    inode = (desk / "out.png").stat().st_ino
    fail_replacing(monkeypatch, desk / "out.png")
    assert paint(*SMALL) == 0
    assert_is_painting(desk / "out.png")
    assert (desk / "out.png").stat().st_ino == inode


def test_a_picture_that_cannot_have_its_name_is_saved_beside_it(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "out-2.png").write_text("another picture")
    fail_replacing(monkeypatch, desk / "out.png")  # nor is there a file to write into
    assert "out.png cannot be written (Device or resource busy): saved as " in refusal(
        capsys, ["photo.png", "painting.png", "-o", "out.png", *SMALL, "--quiet"]
    )
    assert_is_painting(desk / "out-3.png")
    assert (desk / "out-2.png").read_text() == "another picture"
    assert len(list(desk.iterdir())) == 4, "nothing else is left behind"


def rescued(said: str) -> Path:
    """The picture that a line says was saved in the temporary folder."""
    found = re.search(r": saved as (.*out\.png)\.\n$", said)
    assert found
    return Path(found[1])


def test_a_folder_deleted_during_the_run_does_not_lose_the_picture(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spare: Path
) -> None:
    def delete(*args: Any, **options: Any) -> Iterator[Frame]:
        shutil.rmtree(desk / "folder")
        yield from stylize(*args, **options)

    (desk / "folder").mkdir()
    monkeypatch.setattr(command_line, "stylize", delete)
    said = refusal(capsys, ["photo.png", "painting.png", "-o", "folder/out.png", *SMALL, "--quiet"])
    assert "folder/out.png cannot be written (No such file or directory): saved as " in said
    assert spare in rescued(said).parents
    assert_is_painting(rescued(said))


def test_a_full_disk_sends_the_picture_to_the_temporary_folder(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spare: Path
) -> None:
    (desk / "out.png").write_text("old")
    save = Image.Image.save

    def save_until_full(image: Image.Image, path: Path, **options: Any) -> None:
        if image.size == (64, 51) and path.parent == desk:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", save_until_full)
    assert run_interrupted_at(2, signal.SIGTERM, monkeypatch) == 143
    said = capsys.readouterr().err
    assert "Interrupted at iteration 2 of 4; out.png cannot be written (No space left on device): saved as " in said
    assert_is_painting(rescued(said))
    assert (desk / "out.png").read_text() == "old"


@pytest.fixture
def spare(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the run."""
    folder = tmp_path_factory.mktemp("spare")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_file_gets_the_picture(desk: Path, there: bool) -> None:
    (desk / "folder").mkdir()
    (desk / "out.png").symlink_to("folder/real.png")
    if there:
        (desk / "folder" / "real.png").write_text("old")
    assert paint(*SMALL) == 0
    assert os.readlink(desk / "out.png") == "folder/real.png"
    assert_is_painting(desk / "folder" / "real.png")
    assert [path.name for path in (desk / "folder").iterdir()] == ["real.png"]


@pytest.mark.parametrize("flags", ["-o kept.png", "-o link.png", "--log kept.png"])
def test_a_write_protected_file_is_refused_before_the_run(
    desk: Path, capsys: pytest.CaptureFixture[str], flags: str
) -> None:
    (desk / "kept.png").write_text("old")
    (desk / "kept.png").chmod(0o444)
    (desk / "link.png").symlink_to("kept.png")
    said = refusal(capsys, ["photo.png", "painting.png", "-o", "out.png", *SMALL, *flags.split()])
    assert "is write-protected: give another name" in said
    assert (desk / "kept.png").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_refused_before_the_run_unless_the_file_can(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "folder").mkdir()
    (desk / "folder" / "old.png").write_text("old")
    (desk / "folder").chmod(0o555)
    if os.geteuid() == 0 and subprocess.run(["chattr", "+i", desk / "folder"], capture_output=True).returncode:
        pytest.skip("root may write in every folder here")
    try:
        for name, log in (("folder/out.png", os.devnull), ("out.png", "folder/losses.csv")):
            argv = ["photo.png", "painting.png", "-o", name, "--log", log, *SMALL]
            assert re.search(r"folder/\S+ cannot be written \(.+\): choose another place", refusal(capsys, argv))
        assert main(["photo.png", "painting.png", "-o", "folder/old.png", *SMALL, "--quiet"]) == 0
        assert_is_painting(desk / "folder" / "old.png")
    finally:
        subprocess.run(["chattr", "-i", desk / "folder"], capture_output=True)
        (desk / "folder").chmod(0o755)


# Where it prints


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_bar_and_messages_print_in_any_encoding(desk: Path, encoding: str) -> None:
    shutil.copy(desk / "photo.png", desk / "Ζωή.png")
    with (desk / "said.txt").open("wb") as said:
        command = [sys.executable, "-m", "styletransfer", desk / "Ζωή.png", desk / "painting.png"]
        done = subprocess.run(
            [*command, "-o", desk / "größe-β.png", *SMALL],
            cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            stdout=said,
            stderr=said,
            timeout=DEADLINE,
        )
    text = (desk / "said.txt").read_bytes().decode(encoding)
    assert done.returncode == 0, text
    assert "4/4" in text
    assert "β" in text if encoding == "utf-8" else r"\u03b2" in text
    assert "(64" in text.splitlines()[-1]


@pytest.mark.slow
def test_a_run_whose_progress_nobody_reads_any_more_goes_on(desk: Path) -> None:
    """As `python -m styletransfer … 2>&1 | head -1`. Python itself ignores SIGPIPE."""
    log, out = desk / "losses.csv", desk / "out.png"
    command = [sys.executable, "-m", "styletransfer", desk / "photo.png", desk / "painting.png", "-o", out, *SMALL]
    process = subprocess.Popen([*command, "--iterations", "60", "--log", log], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        process.stderr.read(1)
        process.stderr.close()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
    assert len(rows(log)) == 60
    assert_is_painting(out)


@pytest.mark.slow
def test_a_message_that_nobody_reads_costs_no_exit_code(desk: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "styletransfer", "missing.png", "painting.png", "-o", "out.png"]
    done = subprocess.run(command, cwd=ROOT, stderr=write, timeout=DEADLINE)
    os.close(write)
    assert done.returncode == 2
