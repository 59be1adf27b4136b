"""What strangers do to a public page: each accident or attack of theirs is done here, for real."""

from __future__ import annotations

import base64
import errno
import http.client
import io
import itertools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser, expect

from benchmarks import soak
from page import layout, results, server, storage, worker
from page.config import ServerConfig
from page.examples import EXAMPLES
from page.handlers import Handlers
from page.session import Session
from page.worker import Request, RunControl
from styletransfer import Settings, StyleTransferError, images, optimize, weights
from styletransfer.cpu import memory
from tests.data import BAD, ODD, PAINTING, PHOTO, ROOT, encode, exif, noise

with gr.Blocks():
    COMPONENTS = layout.create_components(ServerConfig())
HANDLERS = Handlers(COMPONENTS, ServerConfig())  # for tests that need no server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its temporary files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "cached_vgg19", lambda: None)
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setattr("tempfile.tempdir", str(folder))
        page = layout.build(ServerConfig())
        yield server.launch(page, prevent_thread_lock=True, quiet=True)[1]
        page.close()


def order(**changes: Any) -> dict[str, Any]:
    given = {"photo": handle_file(PHOTO), "painting": handle_file(PAINTING), "size": 64, "iterations": 1}
    return {**given, "api_name": "/stylize", **changes}


SMALL = {
    "size": 64,
    "iterations": 3,
    "style_weight_power_of_ten": 7.3,
    "content_weight": 1,
    "tv_weight": 0,
    "colours": "painting",
    "stroke": 1,
    "mix": 0.5,
}


def uploaded(path: Path) -> dict[str, Any]:
    """What a drop zone holds."""
    return {"path": str(path)}


def one_sentence(error: Exception) -> bool:
    said = str(error)
    return "Traceback" not in said and 10 < len(said) < 400 and said.rstrip().endswith((".", "!"))


# Odd pictures


def files() -> dict[str, bytes]:
    """Forty kinds and more of what people drop on a page."""
    found = {what: source for what, (source, *_) in ODD.items() if isinstance(source, bytes)}
    found |= {what: source for what, source in BAD.items() if isinstance(source, bytes)}
    found |= {f"EXIF orientation {n}": encode(noise(), "JPEG", exif=exif(n)) for n in range(1, 9)}
    found["1×1"] = encode(noise(1, 1), "PNG")
    found["1×4000"] = encode(noise(1, 4000), "PNG")
    found["12000×12000"] = encode(Image.new("L", (12000, 12000)), "PNG")
    found["SVG"] = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    found["an HTML page"] = b"<!doctype html><title>photo</title><script>alert(1)</script>"
    found["half a JPEG"] = PHOTO.read_bytes()[: PHOTO.stat().st_size // 2]
    return found


FILES = files()


def test_there_are_forty_kinds() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("what", FILES)
def test_an_odd_picture_is_painted_or_refused_in_one_sentence(client: Client, tmp_path: Path, what: str) -> None:
    file = tmp_path / "holiday.jpg"
    file.write_bytes(FILES[what])
    try:
        png = client.predict(**order(photo=handle_file(file)))[3]
    except AppError as error:
        assert one_sentence(error), error
    else:
        with Image.open(png) as painted:
            assert max(painted.size) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"size": float("nan")},
        {"size": "large"},
        {"size": None},
        {"iterations": -1},
        {"iterations": 10**9},
        {"style_weight_power_of_ten": 1e300},
        {"content_weight": float("inf")},
        {"colours": "pink"},
        {"stroke": 1000},
        {"preset": ["balanced"]},
        {"second_painting": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}},
    ],
)
def test_settings_out_of_range_are_refused_and_the_server_stays_up(client: Client, changes: dict[str, Any]) -> None:
    with pytest.raises((AppError, ValueError)) as caught:
        client.predict(**order(**changes))
    assert "Traceback" not in str(caught.value)
    assert client.predict(**order())[3]


@pytest.mark.parametrize("data", [[], [None], [1] * 40, {"photo": 3}, "text", None])
def test_missing_and_extra_arguments_are_refused_and_the_server_stays_up(url: str, client: Client, data: Any) -> None:
    started = httpx.post(f"{url}gradio_api/call/stylize", json={"data": data})
    if started.status_code == 200:
        said = httpx.get(f"{url}gradio_api/call/stylize/{started.json()['event_id']}", timeout=60).text
        assert "event: error" in said
        assert "Traceback" not in said
    assert client.predict(**order())[3]


def test_nothing_of_a_visit_by_program_stays_on_disk_but_what_it_brought_and_was_given(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    before = {path for path in folder.rglob("*") if path.is_file()}
    client.predict(**order(photo=handle_file(coloured(tmp_path, 17))))
    with suppress(AppError):
        client.predict(**order(photo=handle_file(coloured(tmp_path, 18)), size=-1))
    stayed = {path for path in folder.rglob("*") if path.is_file()} - before
    assert sorted(path.name for path in stayed) == ["17.png", "18.png", "image.jpeg", "painting-1.png"]
    assert not [file for visit in folder.glob("painting-*") for file in visit.iterdir()], "nor of those before"


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3)
)


@settings(max_examples=3000, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(Settings.__dataclass_fields__)), ANYTHING, max_size=4))
def test_no_settings_whatever_raise_anything_but_our_own_kinds(said: dict[str, Any]) -> None:
    try:
        made = Settings(**said)
    except StyleTransferError as error:
        assert one_sentence(error)
    else:
        assert made == Settings(**{name: getattr(made, name) for name in said})


SEEDS = [encode(noise(), format) for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")]


@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=6), st.data())
def test_no_file_whatever_raises_anything_but_our_own_kinds(
    seed: bytes, changes: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    file = bytearray(seed)
    for at, new in changes:
        file[at % len(file) : at % len(file) + len(new)] = new
    cut = data.draw(st.integers(0, len(file)))
    try:
        image = images.load(bytes(file[: cut or None])).image
    except StyleTransferError as error:
        assert one_sentence(error)
    else:
        assert image.mode == "RGB"


# Many visitors


def coloured(folder: Path, number: int) -> Path:
    """A photo that nobody else has."""
    file = folder / f"{number}.png"
    Image.new("RGB", (64, 48), (12 * number, 255 - 12 * number, 128)).save(file)
    return file


def test_of_twenty_visitors_at_once_eight_are_served_in_order_and_the_others_are_told_so(
    url: str, tmp_path: Path
) -> None:
    clients = [Client(url, verbose=False) for _ in range(20)]
    photos = [coloured(tmp_path, number) for number in range(20)]
    clients[0].predict(**order())  # what an estimate is made from
    first = clients[0].submit(**order(size=128, iterations=2000))
    next(iter(first))  # the place is taken, so that nobody is served before all have come
    jobs = [clients[n].submit(**order(photo=handle_file(photos[n]))) for n in range(1, 20)]
    deadline = time.monotonic() + 60
    while sum(job.done() for job in jobs) < 11 and time.monotonic() < deadline:
        time.sleep(0.1)
    refused = [job for job in jobs if job.done()]
    assert len(refused) == 11
    assert all("full" in str(job.exception()) for job in refused)
    waiting = [job for job in jobs if job not in refused]
    while None in [job.status().rank for job in waiting] and time.monotonic() < deadline:
        time.sleep(0.1)
    places = {job.status().rank: job for job in waiting}
    assert sorted(places) == list(range(8))
    estimates = [places[rank].status().eta for rank in range(8)]
    assert all(early < late for early, late in itertools.pairwise(estimates)), "seconds, more for those behind"
    served: list[Any] = []
    for job in waiting:
        job.add_done_callback(served.append)
    first.cancel()
    for job in waiting:
        number = jobs.index(job) + 1
        with Image.open(job.result(timeout=60)[3]) as painted, Image.open(photos[number]) as photo:
            off = np.asarray(painted.convert("RGB"), float).mean((0, 1)) - np.asarray(photo, float).mean((0, 1))
        assert np.abs(off).max() < 6, "another visitor's picture"
    assert served == [places[rank].future for rank in range(8)]
    for client in clients:
        client.close()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Evaluations, and the most that went on at the same time."""
    counts, lock, original = Counter[str](), threading.Lock(), optimize.Objective.__call__

    def counted(self: optimize.Objective, x: Any) -> Any:
        with lock:
            counts["now"] += 1
            counts["all"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        try:
            return original(self, x)
        finally:
            with lock:
                counts["now"] -= 1

    monkeypatch.setattr(optimize.Objective, "__call__", counted)
    return counts


def test_stop_and_start_fifty_times_never_computes_twice_at_once_and_grows_nothing(
    client: Client, evaluated: Counter[str], folder: Path
) -> None:
    for number in range(50):
        job = client.submit(**order(iterations=2000))
        next(iter(job))
        job.cancel()
        if number == 10:
            threads, early = threading.active_count(), soak.measure_state(number, os.getpid(), folder)
    assert client.predict(**order())[3]
    assert evaluated["most"] == 1
    assert threading.active_count() < threads + 10
    late = soak.measure_state(50, os.getpid(), folder)
    assert late.memory - early.memory < soak.MAX_GROWTH
    assert late.open_files - early.open_files < 10


def wait_until_still(evaluated: Counter[str]) -> bool:
    """Whether the work ends soon."""
    for _ in range(50):
        before = evaluated["all"]
        time.sleep(0.3)
        if evaluated["all"] == before:
            return True
    return False


def test_a_visitor_who_leaves_ends_the_work_and_one_who_leaves_the_queue_never_starts_it(
    url: str, client: Client, evaluated: Counter[str]
) -> None:
    one, two = Client(url, verbose=False), Client(url, verbose=False)
    running = one.submit(**order(iterations=2000))
    next(iter(running))
    queued = two.submit(**order(iterations=2000))
    time.sleep(1)
    queued.cancel()
    two.close()
    running.cancel()
    one.close()
    assert wait_until_still(evaluated)
    assert client.predict(**order())[3]


def test_a_run_that_takes_too_long_ends_with_its_picture() -> None:
    hurried, session = Handlers(COMPONENTS, ServerConfig(max_run_seconds=1.0)), Session()
    hurried.start_run(session)
    *_, last = hurried.stylize(session, uploaded(PHOTO), uploaded(PAINTING), "quick", **{**SMALL, "iterations": 2000})
    assert "Stopped:" in last[COMPONENTS.status]
    assert "Stopped at the limit of 1 s." in last[COMPONENTS.status]
    assert Image.open(last[COMPONENTS.download]).size


# Too little memory, too little disk


def test_a_size_that_memory_does_not_allow_is_refused_with_one_that_it_does(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1.4e9)
    with pytest.raises(AppError, match=r"needs .* GB of memory, and 1\.4 GB are free") as caught:
        client.predict(**order(size=2048))
    fits = int(re.findall(r"at most (\d+)", str(caught.value))[0])
    with Image.open(client.predict(**order(size=fits))[3]) as painted:
        assert max(painted.size) == fits


def test_where_memory_is_out_altogether_no_size_is_advised(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e8)
    with pytest.raises(AppError, match="try again when less is going on here"):
        client.predict(**order())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e6 < memory.available_bytes() < 1e14
    for name, text in (("max", "1000000"), ("current", "900000"), ("stat", "anon 5\ninactive_file 50000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_bytes() == 150000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 150000


def test_a_full_disk_costs_the_file_and_not_the_picture(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.metadata, "save_png", full)
    picture, status, _, png = client.predict(**order())
    assert "the disk is full" in status
    assert "Finished" in status
    assert picture
    assert not png


UNTIDIED = "import app; app.storage.SECONDS_PER_CLEANUP = 1e6; app.main()"  # the test has the disk to itself


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A page in whose own view of this machine temporary files lie on a disk of 24 MB; its address, and that disk."""
    apart = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=24m tmpfs {tmp_path}"
    if subprocess.run([*apart, mount], capture_output=True).returncode:
        pytest.skip("this machine lends no disk of its own to a process")
    command = [*apart, f"{mount} && exec {sys.executable} -u -c '{UNTIDIED}'"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STYLETRANSFER_VGG19": "none"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    found = (re.findall(r"http://\S+", line) for line in server.stdout or ())
    yield f"{next(match[0] for match in found if match)}/", Path(f"/proc/{server.pid}/root{tmp_path}")
    server.kill()


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a disk of its own for a process")
def test_a_disk_that_fills_up_during_a_run_costs_no_picture(small_disk: tuple[str, Path], browser: Browser) -> None:
    url, disk = small_disk
    page = browser.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(f"{url}?photo=chelsea&painting=woodcut&size=128&iterations=60")
    expect(page.locator("#painting img")).to_be_visible()
    page.wait_for_timeout(1000)  # the link sets the sliders a moment later
    paint = page.get_by_role("button", name="Paint", exact=True)
    paint.click()
    expect(page.locator("#status")).to_contain_text("Painting:")
    filler = fill(disk)
    expect(page.locator("#status")).to_contain_text("Finished:")
    expect(page.locator("#status")).to_contain_text("could not be saved (the disk is full)")
    picture = page.locator("#result img").get_attribute("src") or ""
    sent = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
    assert max(Image.open(io.BytesIO(sent)).size) == 128
    expect(paint).to_be_enabled()
    expect(page.locator("#download")).to_be_disabled()
    expect(page.get_by_role("button", name="More")).to_be_disabled()
    assert page.locator(".toast-body").count() == 0
    fill(disk)
    page.locator("#photo").get_by_label("Remove Image").click()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator(".toast-body")).to_contain_text("The disk of this server is full")
    filler.unlink()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#photo img")).to_be_visible()
    paint.click()
    expect(page.locator("#download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#download").click()
    assert max(Image.open(download.value.path()).size) == 128
    page.close()


@pytest.mark.parametrize(("limit", "most"), [("MAX_STORED_BYTES", 3500), ("MAX_FILES", 3)])
def test_the_files_of_many_visits_stay_within_a_limit_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    for number in range(10):
        file = tmp_path / f"visit-{number}" / "photo.png"
        file.parent.mkdir()
        file.write_bytes(bytes(1000))
        os.utime(file, (number, number))
    monkeypatch.setattr(storage, limit, most)
    storage.make_room(tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.png")) == ["visit-7", "visit-8", "visit-9"]


def test_where_the_disk_has_little_left_half_of_it_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(bytes(1000))
        os.utime(tmp_path / f"{number}.png", (number, number))
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2000))
    storage.make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.png" for number in range(4, 10)]


def test_visits_that_end_while_room_is_made_do_not_end_the_tidying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS_PER_CLEANUP", 0.001)
    monkeypatch.setattr(storage, "MAX_FILES", 20)
    monkeypatch.setattr(storage.signal, "signal", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with storage.create_folder() as folder:
        for number in range(300):
            visit = folder / f"painting-{number}"
            visit.mkdir()
            for name in range(3):
                (visit / f"{name}.png").write_bytes(b"x")
            shutil.rmtree(visit, ignore_errors=True)
        for number in range(100):
            (folder / f"{number}.png").write_bytes(b"x")
        deadline = time.monotonic() + 20
        while len(list(folder.glob("*.png"))) > 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(folder.glob("*.png"))) <= 20
    assert not folder.exists()


def test_empty_folders_are_tidied_away_but_a_visits_own_and_those_just_made(tmp_path: Path) -> None:
    for name in ("gradio/left", "gradio/new", "gradio/used", "painting-visit"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "gradio" / "used" / "photo.png").write_bytes(b"x")
    for name in ("gradio/left", "gradio/used", "painting-visit"):
        os.utime(tmp_path / name, (0, 0))
    storage.make_room(tmp_path)
    stay = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir()}
    assert stay == {"gradio", "gradio/new", "gradio/used", "painting-visit"}


def test_a_photo_that_has_been_tidied_away_is_asked_for_again(url: str) -> None:
    def bring(path: Path) -> str:
        return httpx.post(f"{url}gradio_api/upload", files={"files": path.open("rb")}).json()[0]

    brought = [bring(PHOTO), bring(PAINTING)]
    Path(brought[0]).unlink()
    data = [*({"path": path, "meta": {"_type": "gradio.FileData"}} for path in brought), "quick"]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "choose it again" in said, said


# What is nobody's business


def test_files_outside_the_apps_folders_and_of_other_visits_are_refused(url: str, folder: Path) -> None:
    theirs = folder / "painting-other" / "painting-1.png"
    theirs.parent.mkdir()
    theirs.write_bytes(encode(noise(), "PNG"))
    guesses = ["/etc/passwd", str(ROOT / "app.py"), str(ROOT / "styletransfer" / "optimize.py"), str(theirs), "app.py"]
    guesses += ["..%2f..%2f..%2fetc%2fpasswd", f"{EXAMPLES}/../app.py", f"{EXAMPLES}/%2e%2e/app.py"]
    for guess in guesses:
        for door in ("gradio_api/file=", "file=", "static/", "gradio_api/upload/"):
            connection = http.client.HTTPConnection(urlsplit(url).netloc)  # httpx would take the dots out
            connection.request("GET", f"/{door}{guess}")
            answer = connection.getresponse()
            assert answer.status in (403, 404, 405), (door, guess)
            body = answer.read()
            assert b"root:" not in body and b"from __future__" not in body
            connection.close()


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "app.py"), "../../../etc/passwd"])
def test_a_path_sent_for_a_picture_reads_no_file_of_the_server(url: str, client: Client, path: str) -> None:
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, None, "quick"]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "event: error" in said
    assert "root:" not in said
    assert client.predict(**order())[3]


ELSEWHERE = {"Host": "demo.example", "Origin": "https://elsewhere.example"}


@pytest.mark.parametrize("door", ["call/paint", "queue/join", "upload", "cancel", "reset"])
@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://other.demo.example", "Host": "demo.example"},
        ELSEWHERE,
        {**ELSEWHERE, "X-Forwarded-Host": "elsewhere.example"},  # which its page may add
        {"Host": "demo.example", "Origin": "null"},
    ],
)
def test_another_sites_page_can_start_nothing(url: str, door: str, said: dict[str, str]) -> None:
    body = {"content": "{}", "headers": {"Content-Type": "text/plain", **said}}
    assert httpx.post(f"{url}gradio_api/{door}", **body).status_code == 403


@pytest.mark.parametrize("door", ["config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"])
def test_another_sites_page_can_read_nothing(url: str, door: str) -> None:
    assert httpx.get(f"{url}{door}", headers=ELSEWHERE).status_code == 403


@pytest.mark.parametrize(
    "said",
    [
        {},  # a program
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://demo.example"},  # a proxy that gives another host
        {"Origin": "http://demo.example", "Host": "demo.example"},
        {"Origin": "http://demo.example:8080", "Host": "demo.example"},  # a proxy that drops the port
    ],
)
def test_the_pages_own_calls_and_programs_come_through(url: str, said: dict[str, str]) -> None:
    data = {"data": [None, None, "quick"]}
    assert httpx.post(f"{url}gradio_api/call/paint", json=data, headers=said).status_code == 200


def test_a_link_from_another_site_opens_the_page(url: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert "Photo to painting" in httpx.get(url, headers=headers).text


def test_a_real_browser_tells_the_other_sites_page_from_ours(url: str, browser: Browser) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    ask = """async ([address, mode]) => {
        const asked = {method: 'POST', mode, body: '{"data": [null, null, "quick"]}'};
        if (mode == 'cors') asked.headers = {'content-type': 'application/json'};
        try { return (await fetch(address + 'gradio_api/call/paint', asked)).status } catch (error) { return 0 }
    }"""
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    page = browser.new_page()
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if "call/paint" in response.url else None)
    page.goto(f"http://127.0.0.1:{elsewhere.server_port}/")
    for mode in ("cors", "no-cors"):
        page.evaluate(ask, [url, mode])
    assert answers.count(403) == 2
    page.goto(url)
    assert page.evaluate(ask, [url, "cors"]) == 200
    page.close()
    elsewhere.shutdown()


@pytest.mark.parametrize("door", ["gradio_api/upload", "gradio_api/queue/join", "gradio_api/call/paint"])
def test_a_body_said_to_be_huge_is_refused_at_once(url: str, client: Client, door: str) -> None:
    with suppress(httpx.TransportError):  # the server has hung up
        assert httpx.post(f"{url}{door}", content=bytes(server.MAX_BODY_BYTES + 1), timeout=30).status_code == 413
    assert client.predict(**order())[3]


@pytest.mark.parametrize("door", ["gradio_api/upload", "gradio_api/queue/join", "gradio_api/call/paint"])
def test_an_endless_body_is_refused_and_read_no_further(url: str, client: Client, door: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        while sent < 10 * server.MAX_BODY_BYTES:
            sent += 1 << 20
            yield bytes(1 << 20)

    with suppress(httpx.TransportError):  # the server has hung up
        form = {"Content-Type": "multipart/form-data; boundary=x"} if "upload" in door else {}
        assert httpx.post(f"{url}{door}", content=endless(), headers=form, timeout=30).status_code == 413
    assert sent < 2 * server.MAX_BODY_BYTES
    assert client.predict(**order())[3]


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Counter[str]]]:
    """The address of an endless file on a server that counts for a public one, and what it has sent of it."""
    counts = Counter[str]()

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while counts["sent"] < 10 * server.MAX_BODY_BYTES:
                    counts["sent"] += self.wfile.write(bytes(1 << 20))

        def log_message(self, *_: Any) -> None:
            pass

    async def public(_: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(server.safehttpx, "async_validate_url", public)
    far = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=far.serve_forever, daemon=True).start()
    yield f"http://elsewhere.example:{far.server_port}/photo.png", counts
    far.shutdown()


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/x.png", "http://[::1]:7860/config", "http://169.254.169.254/", "http://a.invalid/x.png"],
)
def test_an_address_of_this_machine_or_of_none_is_refused_in_one_sentence(client: Client, address: str) -> None:
    with pytest.raises(AppError, match="save the picture, and send the file") as caught:
        client.predict(**order(photo={"path": address, "meta": {"_type": "gradio.FileData"}}))
    assert one_sentence(caught.value)


def test_an_endless_file_at_an_address_is_fetched_no_further_than_the_limit(
    url: str, client: Client, far_away: tuple[str, Counter[str]]
) -> None:
    address, counts = far_away
    data = [{"path": address, "meta": {"_type": "gradio.FileData"}}, None, "quick"]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "event: error" in said
    assert "more than 20 MB" in said
    assert server.MAX_FILE_BYTES < counts["sent"] < 2 * server.MAX_BODY_BYTES
    assert client.predict(**order())[3]


def test_a_file_over_the_limit_is_refused(url: str) -> None:
    files = {"files": ("large.png", io.BytesIO(bytes(server.MAX_FILE_BYTES + 1)), "image/png")}
    assert httpx.post(f"{url}gradio_api/upload", files=files, timeout=30).status_code == 413


def test_the_health_of_the_server_can_be_asked(url: str) -> None:
    answer = httpx.get(f"{url}health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "painting": False}


def test_a_job_is_one_line_in_the_log_with_nothing_of_the_visitor_in_it(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="page"):
        client.predict(**order(iterations=3))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("page")]
    assert len(lines) == 1
    assert re.fullmatch(r"job size=64 preset=balanced seconds=\d+\.\d evaluations=3 outcome=finished", lines[0])


# The process


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_sigterm_during_a_run_ends_the_process_within_five_seconds(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STYLETRANSFER_VGG19": "", "TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-u", "app.py"]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        found = (re.findall(r"http://\S+", line) for line in server.stdout or ())
        client = Client(next(match[0] for match in found if match), verbose=False)
        job = client.submit(**order(size=512, iterations=2000))
        next(iter(job))
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.killpg(server.pid, 0)
        assert not list(tmp_path.glob("photo-to-painting-*")), "what visitors brought goes too"
    finally:
        server.kill()


def test_visits_in_a_row_leave_the_memory_flat() -> None:
    _, counts, states = soak.soak(21)  # `python -m benchmarks.soak` has 200
    assert not [what for what in counts if what.startswith("failed")], counts
    assert min(counts["painted"], counts["left"], counts["refused"]) >= 3
    assert states[-1].memory - states[0].memory < soak.MAX_GROWTH
    assert states[-1].open_files <= states[0].open_files + 10


def warm_up(painting: Path) -> None:
    settings = Settings(size=192, stages=2)
    worker.warm_up(Request(photo=str(PHOTO), paintings=(str(painting),), settings=settings, folder=Path()))


def test_what_the_first_visitor_would_wait_for_is_done_before(evaluated: Counter[str]) -> None:
    warm_up(EXAMPLES / "style" / "waves.webp")
    assert evaluated["all"] == 2, "one in each stage"


def test_warming_up_gives_way_to_a_visitor(evaluated: Counter[str]) -> None:
    with worker.COMPUTE_LOCK:
        warm_up(PAINTING)
    assert evaluated["all"] == 0


def test_a_photo_that_is_tidied_away_during_a_run_costs_the_file_and_not_the_picture(tmp_path: Path) -> None:
    photo = coloured(tmp_path, 5)
    session = Session()
    HANDLERS.start_run(session)
    updates = HANDLERS.stylize(session, uploaded(photo), uploaded(PAINTING), "quick", **{**SMALL, "iterations": 9})
    next(updates), next(updates)
    photo.unlink()
    *_, last = updates
    assert isinstance(last[COMPONENTS.result], Image.Image)
    assert "could not be saved" in last[COMPONENTS.status]
    assert last[COMPONENTS.download] is None
    assert list(session.folder.iterdir()) == []
    shown = HANDLERS.show_results(session)
    assert shown[COMPONENTS.compare] is None, "nothing of an earlier picture stands beside it"


def test_what_cannot_be_noted_on_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    session = Session()
    HANDLERS.start_run(session)
    monkeypatch.setattr(RunControl, "send", full)
    with pytest.raises(gr.Error, match="The disk of this server is full"):
        HANDLERS.steer(session, "quick", *SMALL.values())


def test_pressing_paint_many_times_at_once_makes_one_picture_after_the_other(evaluated: Counter[str]) -> None:
    def painted(_: int) -> Any:
        return list(HANDLERS.stylize(Session(), uploaded(PHOTO), uploaded(PAINTING), "quick", **SMALL))

    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(painted, range(6)))
    assert evaluated["most"] == 1
    assert all(isinstance(run[-1][COMPONENTS.result], Image.Image) for run in done)


def test_a_refused_request_raises_what_the_page_shows() -> None:
    with pytest.raises(gr.Error, match="Choose a photo first"):
        next(HANDLERS.stylize(Session(), None, uploaded(PAINTING), "quick", **SMALL))
