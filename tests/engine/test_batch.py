"""`batch`: every photo by every painting, each once, whatever the files are called and whatever comes between."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from styletransfer import PRESETS, Frame, Settings, SettingsError, batch, metadata, stylize, targets
from styletransfer.__main__ import main
from styletransfer.backbones import Backbone
from styletransfer.batch import find_pictures, name_result
from styletransfer.interruption import Interrupted, delay_signals, raise_on_signals
from tests.data import BAD, ROOT, noise

LAYERS = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1")}  # few, to be quick
SETTINGS = Settings(size=64, iterations=2, faces=False, backbone="vgg16", **LAYERS)
SMALL = [
    *("--size", "64", "--iterations", "2", "--no-faces", "--backbone", "vgg16"),
    *("--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1"),
]
DEADLINE = 120  # seconds; far more than anything here takes


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the photos a and b (40×24), the paintings x and y (48×40), and no VGG-19."""
    for seed, name in enumerate(("photos/a.png", "photos/b.jpg", "paintings/x.png", "paintings/y.webp")):
        width, height = (40, 24) if name.startswith("photos") else (48, 40)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise(width, height, seed).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "no-hub"))
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of every run that is asked of the engine."""
    asked: list[tuple[Any, ...]] = []

    def note(*args: Any, **options: Any) -> Iterator[Frame]:
        asked.append((*args, options))
        return stylize(*args, **options)

    monkeypatch.setattr(batch, "stylize", note)
    return asked


def paint(photos: str = "photos", paintings: str = "paintings", *flags: str) -> int:
    return main(["batch", *photos.split(), "--by", *paintings.split(), "-o", "out", *SMALL, *flags])


def results() -> dict[str, Path]:
    """What is in the folder, by PHOTO--PAINTING: nothing else may be there, also no hidden file."""
    found = {path.name[: -len("-12345678.png")]: path for path in Path("out").iterdir()}
    assert all(re.fullmatch(r".+--.+-[0-9a-f]{8}\.png", path.name) for path in found.values())
    assert len(found) == len(list(Path("out").iterdir()))
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that were printed, without the bar."""
    said = capsys.readouterr()
    assert said.out == ""
    return [line.removeprefix("styletransfer: ") for line in said.err.splitlines() if line.startswith("styletransfer:")]


# What it paints


def test_every_photo_is_painted_by_every_painting_as_it_would_be_alone() -> None:
    assert paint() == 0
    found = results()
    assert sorted(found) == ["a--x", "a--y", "b--x", "b--y"]
    for photo, painting in (("b.jpg", "x.png"), ("a.png", "y.webp")):
        *_, last = stylize(f"photos/{photo}", f"paintings/{painting}", SETTINGS)
        with Image.open(found[f"{photo[0]}--{painting[0]}"]) as picture:
            assert picture.size == (64, 38)
            assert np.array_equal(np.asarray(picture), np.asarray(last.picture))


def test_files_folders_and_patterns_can_be_given_together(desk: Path) -> None:
    (desk / "photos" / "2024").mkdir()
    shutil.copy("photos/a.png", "photos/2024/c.png")
    shutil.copy("photos/a.png", "photo[1].png")  # a name, although it could be a pattern
    found = find_pictures([Path("photo[1].png"), Path("paintings"), Path("photos/**/*.png")], desk / "out")
    assert [str(path) for path in found] == [
        *("photo[1].png", "paintings/x.png", "paintings/y.webp", "photos/2024/c.png", "photos/a.png")
    ]


def test_options_hold_for_every_picture(runs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 24), 255).save("mask.png")
    flags = ["--preset", "classic", "--iterations", "1", "--keep", "mask.png", "--colours", "matched"]
    assert paint("photos", "paintings/x.png", *flags) == 0
    assert len(runs) == 2
    for *_, settings, backbone, options in runs:
        expected = {"size": 64, "iterations": 1, "faces": False, "colours": "matched", "backbone": "vgg16", **LAYERS}
        assert {f.name: getattr(settings, f.name) for f in fields(Settings)} == {
            **{f.name: getattr(PRESETS["classic"], f.name) for f in fields(Settings)},
            **expected,
        }
        assert backbone.name == "vgg16"
        assert options["keep"].getextrema() == ((255, 255),) * 3
    assert all(metadata.is_masked(path) for path in results().values())


def test_help_has_the_flags_of_a_single_picture_but_the_mix_of_two_paintings() -> None:
    said = batch.build_parser().format_help()
    flags = {"--" + field.name.replace("_", "-") for field in fields(Settings)}
    assert {flag for flag in flags if not re.search(rf"{flag}\b", said)} == {"--mix"}


# What it makes once


def test_the_targets_of_a_painting_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[int, ...]] = []
    activations = Backbone.activations

    def counted(self: Backbone, x: Any, layers: Any) -> Any:
        if not x.requires_grad:
            passed.append(tuple(x.shape[2:]))
        return activations(self, x, layers)

    monkeypatch.setattr(Backbone, "activations", counted)
    noise(40, 24, 7).save("photos/c.png")
    noise(32, 48, 8).save("paintings/x.png")  # as tall as no other picture, so that its passes can be told
    targets._style_cache.clear()
    assert paint("photos/a.png", "paintings/x.png") == 0
    alone = passed.count((64, 43))
    assert alone
    one_painting_and_one_photo = targets._style_cache.currsize
    monkeypatch.setattr(targets._style_cache, "_Cache__maxsize", one_painting_and_one_photo)
    targets._style_cache.clear()
    passed.clear()
    shutil.rmtree("out")
    assert paint() == 0
    assert len(results()) == 6
    assert passed.count((64, 43)) == alone


def test_what_is_there_is_not_painted_again(runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert paint() == 0
    before = {name: path.stat() for name, path in results().items()}
    lines(capsys)
    runs.clear()
    assert paint() == 0
    assert runs == []
    assert {name: path.stat().st_mtime_ns for name, path in results().items()} == {
        name: stat.st_mtime_ns for name, stat in before.items()
    }
    *each, end = lines(capsys)
    assert sorted(each) == [f"{path} is there already." for path in sorted(results().values())]
    assert end == "0 painted, 4 there already, 0 failed, of 4."


def replace_photo() -> None:
    noise(40, 24, 99).save("photos/a.png")


def replace_painting() -> None:
    noise(48, 40, 99).save("paintings/x.png")


def truncate_result() -> None:
    (path,) = results().values()
    path.write_bytes(path.read_bytes()[:-2000])


def forget_inputs() -> None:
    (path,) = results().values()
    metadata.save_png(Image.open(path).copy(), path, SETTINGS)


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (None, "--content-weight 2"),
        (None, "--keep photos/b.jpg"),
        (replace_photo, ""),
        (replace_painting, ""),
        (truncate_result, ""),
        (forget_inputs, ""),
    ],
)
def test_a_picture_of_other_settings_or_files_or_a_damaged_one_is_painted_again(
    change: Callable[[], None] | None, flags: str, runs: list[Any]
) -> None:
    assert paint("photos/a.png", "paintings/x.png") == 0
    if change:
        change()
    runs.clear()
    for _ in range(2):
        assert paint("photos/a.png", "paintings/x.png", *flags.split()) == 0
    assert len(runs) == 1


def test_a_file_named_twice_or_by_a_link_is_painted_once(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "link.png").symlink_to("photos/a.png")
    assert paint("photos photos/a.png photos/*.png link.png", "paintings/x.png paintings/x.png") == 0
    assert sorted(results()) == ["a--x", "b--x"]
    assert "Left out 3 that are the same file as another." in lines(capsys)


def test_results_are_no_photos_of_the_next_call(runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for painted in (4, 0):
        assert main(["batch", "photos", "--by", "paintings", "-o", "photos", *SMALL]) == 0
        assert len(runs) == painted
        assert len(list(Path("photos").iterdir())) == 6
        runs.clear()
    assert "Left out 4 results of earlier calls in photos." in lines(capsys)


# Names


def test_no_two_pairs_of_files_have_a_name_in_common(desk: Path) -> None:
    pictures = ["photos/c.png", "photos/c.bmp", "photos/more/c.png", "photos/c--x.png", "x--c.png"]
    (desk / "photos" / "more").mkdir()
    for seed, path in enumerate(pictures):
        noise(40, 24, 10 + seed).save(path)
    for photo in pictures:
        assert paint(photo, "photos/c.png x--c.png") == 0
    alone = sorted(os.listdir("out"))
    assert len(alone) == 2 * len(pictures)
    assert paint(" ".join(pictures), "photos/c.png x--c.png") == 0
    assert sorted(os.listdir("out")) == alone, "a name does not depend on what else is painted"


@pytest.mark.parametrize(
    "stem",
    ["two\nlines", "-o", "Ζωή 🌻", 'a:b*c?"<d>|e\\f', "long" * 60, "語" * 80, ".hidden", os.fsdecode(b"latin-\xe9")],
)
def test_a_photo_of_any_name_gets_a_name_that_any_system_takes(stem: str) -> None:
    inputs = {"photo": "0" * 64, "painting": "1" * 64}
    name = name_result(Path("photos", f"{stem}.png"), Path("paintings", f"{stem}.png"), inputs)
    assert not set('<>:"/\\|?*') & set(name)
    assert name.isprintable()
    assert len(name.encode()) < 240  # of 255, and a part that is being written has a longer name


def test_a_photo_of_an_odd_name_is_painted(desk: Path) -> None:
    odd = os.fsdecode(b"-\xe9\n.png")
    shutil.copy("photos/a.png", desk / "photos" / odd)
    for _ in range(2):
        assert paint("photos", "paintings/x.png") == 0
    assert sorted(results()) == ["-__--x", "a--x", "b--x"]


# What it says


def test_each_picture_has_a_line_and_the_bar_counts_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint() == 0
    said = capsys.readouterr().err
    each = re.findall(r"\rstyletransfer: Saved (.+) \(64×38 pixels, \d+\.\d seconds\)\.\n", said)
    assert sorted(each) == sorted(map(str, results().values()))
    assert re.findall(r"\b([0-4])/4 ", said)[-1] == "4"
    assert re.search(r"\b3/4 .*, left=\d\d:\d\d, size=64", said)
    assert said.endswith("\rstyletransfer: 4 painted, 0 there already, 0 failed, of 4.\n")


def test_quiet_says_nothing_if_all_goes_well_and_what_failed_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert paint("photos", "paintings", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    Path("photos/a.png").write_text("no picture")
    assert paint("photos", "paintings/x.png", "--quiet") == 2
    assert [line.partition(":")[0] for line in lines(capsys)] == [
        "0 painted, 1 there already, 1 failed, of 2.",
        "photos/a.png",
    ]


def test_a_note_of_the_engine_is_said_with_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (40, 24)).save("black.png")
    heights = np.random.default_rng(0).random((24, 40), np.float32)
    heights[0, :4] = np.nan
    Image.fromarray(heights).save("photos/c.tif")
    assert paint("photos/a.png photos/c.tif", "paintings/x.png", "--keep", "black.png") == 0
    a, c, _ = lines(capsys)
    assert re.match(r"Saved out/a--x-\S+ \(.*\)\. The mask is black all over, so it was ignored\.$", a)
    assert re.match(r"Saved out/c--x-\S+ \(.*\)\. c\.tif: .* no data and was made grey before painting\.", c)


def test_a_second_choice_of_backbone_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("photos", "paintings", "--backbone", "auto") == 0
    said = lines(capsys)
    assert sum("Painted with VGG-16" in line for line in said) == 1
    assert sum("--backbone vgg19" in line for line in said) == 1


# Files that fail


def test_a_bad_file_costs_only_its_own_pictures_and_is_named_at_the_end(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("half.png", "notes.jpg", "narrow.png"):
        (desk / "photos" / name).write_bytes(BAD[name][0])
    (desk / "raw.CR2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0" + bytes(16))
    (desk / "photos" / "gone.jpg").symlink_to("nowhere.jpg")
    (desk / "paintings" / "empty.png").touch()
    assert paint("photos raw.CR2") == 2
    assert sorted(results()) == ["a--x", "a--y", "b--x", "b--y"]
    *_, summary, empty, gone, half, narrow, notes, raw = lines(capsys)
    assert summary == "4 painted, 0 there already, 17 failed, of 21."
    for line, name, reason in (
        (empty, "paintings/empty.png", "empty"),
        (gone, "photos/gone.jpg", "No such file"),
        (half, "photos/half.png", "damaged"),
        (narrow, "photos/narrow.png", "15×300"),
        (notes, "photos/notes.jpg", "format"),
        (raw, "raw.CR2", "camera RAW file"),
    ):
        assert line.startswith(f"{name}: ")
        assert reason in line


def test_a_pair_that_the_engine_refuses_costs_only_its_own_picture(capsys: pytest.CaptureFixture[str]) -> None:
    noise(1600, 16).save("photos/strip.png")
    assert paint("photos", "paintings/x.png") == 2
    assert sorted(results()) == ["a--x", "b--x"]
    assert lines(capsys)[-1].startswith("photos/strip.png by paintings/x.png: At size 64 the photo would have 64×1")


@pytest.mark.parametrize("error", [RuntimeError("out of memory\nat line 7"), MemoryError("out of memory")])
def test_a_picture_that_the_machine_cannot_paint_costs_no_other(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(*args: Any, **options: Any) -> Iterator[Frame]:
        monkeypatch.setattr(batch, "stylize", stylize)
        raise error
        yield

    monkeypatch.setattr(batch, "stylize", fail_once)
    assert paint("photos", "paintings/x.png") == 2
    assert sorted(results()) == ["b--x"]
    assert lines(capsys)[-1] == "photos/a.png by paintings/x.png: This machine cannot paint it (out of memory)."


def test_a_picture_that_cannot_be_saved_costs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("photos", "paintings/x.png") == 0
    path = results()["a--x"]
    path.unlink()
    path.mkdir()
    assert paint("photos", "paintings") == 2
    assert sorted(results()) == ["a--x", "a--y", "b--x", "b--y"]
    assert f"{path} is a folder" in lines(capsys)[-1]


def test_what_is_no_picture_by_its_name_is_left_out_of_a_folder_and_said(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("notes.txt", "IMG_1.CR2", ".hidden.png", "folder.png/c.png"):
        (desk / "photos" / name).parent.mkdir(exist_ok=True)
        (desk / "photos" / name).touch()
    os.mkfifo("photos/pipe.png")
    noise(40, 24).save("photos/UPPER.JPG")
    for name in ("photos", "photos/*"):
        assert [path.name for path in find_pictures([Path(name)], desk / "out")] == ["UPPER.JPG", "a.png", "b.jpg"]
        assert lines(capsys) == [f"{name}: left out IMG_1.CR2, notes.txt, not named like a picture."]


# Bad input


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ("", "the following arguments are required: PHOTO, --by, -o"),
        ("photos -o out", "--by"),
        ("photos --by paintings", "-o"),
        ("missing --by paintings -o out", "missing was not found"),
        ("https://example.com/a.jpg --by paintings -o out", "a.jpg is an address on the internet"),
        ("photos --by empty -o out", "no pictures in empty"),
        ("photos --by photos/*.tif -o out", "photos/*.tif matches no picture"),
        (f"{'long' * 64} --by paintings -o out", "longlong"),
        ("pipe.png --by paintings -o out", "pipe.png was not found"),
        ("photos --by paintings -o photos/a.png", "photos/a.png is no folder"),
        ("photos --by paintings -o photos/a.png/out", "Not a directory"),
        (f"photos --by paintings -o {'long' * 64}", "File name too long"),
        ("photos --by paintings -o out --size 63", "size must be a whole number"),
        ("photos --by paintings -o out --mix 0.3", "--mix"),
        ("photos --by paintings -o out --style-layers conv9_1", "no layer 'conv9_1'"),
        ("photos --by paintings -o out --keep missing.png", "missing.png was not found"),
        ("photos --by paintings -o out --weights photos/a.png", "leave out either it or --backbone vgg16"),
    ],
)
def test_bad_input_costs_one_line_and_leaves_nothing_behind(
    argv: str, reason: str, capsys: pytest.CaptureFixture[str], desk: Path
) -> None:
    (desk / "empty").mkdir()
    os.mkfifo("pipe.png")
    before = sorted(desk.rglob("*"))
    assert main(["batch", *argv.split(), "--backbone", "vgg16"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert sorted(desk.rglob("*")) == before


# Interruptions


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_call_leaves_nothing_half_and_the_next_one_goes_on(
    number: int,
    exit_code: int,
    runs: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = batch.stylize

    def interrupt_the_third(*args: Any, **options: Any) -> Iterator[Frame]:
        for frame in note(*args, **options):
            yield frame
            if len(runs) == 3:
                signal.raise_signal(number)

    monkeypatch.setattr(batch, "stylize", interrupt_the_third)
    assert paint() == exit_code
    assert sorted(results()) == ["a--x", "b--x"]
    assert lines(capsys)[-2:] == [
        "Interrupted: the same command goes on with what is missing.",
        "2 painted, 0 there already, 0 failed, of 4.",
    ]
    monkeypatch.setattr(batch, "stylize", note)
    runs.clear()
    assert paint() == 0
    assert len(runs) == 2
    assert len(results()) == 4


def test_an_interruption_waits_until_a_finished_picture_is_saved(
    runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save

    def interrupt_half_way(image: Image.Image, path: Path, **options: Any) -> None:
        if image.size == (64, 38):
            signal.raise_signal(signal.SIGINT)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupt_half_way)
    assert paint() == 130
    assert list(results()) == ["a--x"]
    monkeypatch.setattr(Image.Image, "save", save)
    runs.clear()
    assert paint() == 0
    assert len(runs) == 3


def test_an_interruption_is_not_forgotten_where_saving_fails() -> None:
    with pytest.raises(Interrupted), raise_on_signals(), delay_signals():
        signal.raise_signal(signal.SIGINT)
        raise SettingsError("There is no room.")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_it_and_the_same_command_goes_on() -> None:
    command = [sys.executable, "-m", "styletransfer", "batch", "photos", "--by", "paintings", "-o", "out", *SMALL]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--iterations", "200"], env=env, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        deadline = time.monotonic() + DEADLINE
        while not (Path("out").exists() and list(Path("out").glob("[!.]*.png"))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    before = {path: path.stat().st_mtime_ns for path in results().values()}
    assert 1 <= len(before) < 4
    again = subprocess.run([*command, "--iterations", "200"], env=env, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert again.returncode == 0
    assert len(results()) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
