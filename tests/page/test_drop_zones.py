"""Files of every format that the engine reads, chosen in the drop zones and dropped on them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, FilePayload, JSHandle, Page, expect

from page import server
from page.drop_zones import make_preview
from styletransfer import images
from tests.data import ODD, PAINTING, PHOTO, encode, exif
from tests.page.helpers import HANDLERS, on_both, only_desktop, only_phone, open_second_part, slider, uploaded

with Image.open(PHOTO) as image:
    PICTURE = image.convert("RGB").resize((160, 100))
DEEP = Image.fromarray(np.asarray(PICTURE.convert("L")).astype(np.uint16) * 257)
FILES = {  # name -> content; all are 160×100
    "IMG_1.HEIC": encode(PICTURE, "HEIF"),
    "whatsapp.jpg": encode(PICTURE, "HEIF"),  # a HEIC that calls itself JPEG
    "scan": encode(PICTURE, "TIFF"),
    "deep.tif": encode(DEEP, "TIFF"),
    "print.tiff": encode(PICTURE.convert("CMYK"), "TIFF"),
    "archive.jp2": encode(PICTURE, "JPEG2000"),
    "drawing.ppm": encode(PICTURE, "PPM"),
    "screenshot.bmp": encode(PICTURE, "BMP"),
    "new.avif": encode(PICTURE, "AVIF"),
    "no-ending": encode(PICTURE, "JPEG"),
}
TYPES = ("", "application/octet-stream", "image/heic", "text/plain")


def choose(page: Page, zone: str, name: str, content: bytes, type: str = "") -> None:
    """What a person does in the system's file chooser."""
    with page.expect_file_chooser() as chooser:
        page.locator(f"{zone} button.upload-container").click()
    assert ".heic" in (chooser.value.element.get_attribute("accept") or ""), "the system would grey it out"
    chooser.value.set_files([FilePayload(name=name, mimeType=type, buffer=content)])


def drop(page: Page, place: str, name: str, content: bytes, type: str = "") -> None:
    """Drag a file over a place on the page, and drop it there."""
    dragged: JSHandle = page.evaluate_handle(
        """([name, type, bytes]) => { const dragged = new DataTransfer();
                                      dragged.items.add(new File([new Uint8Array(bytes)], name, {type}));
                                      return dragged; }""",
        [name, type, list(content)],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(place, event, {"dataTransfer": dragged})


def assert_shown(page: Page, zone: str, name: str, width: int = 160, height: int = 100) -> None:
    page.wait_for_function(
        "([zone, name]) => { const image = document.querySelector(`${zone} img`);"
        " return image?.src.endsWith(name) && image.naturalWidth > 0; }",
        arg=[zone, name],
    )
    size = page.locator(f"{zone} img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [width, height]


@pytest.mark.slow
@only_desktop
def test_a_heic_of_no_known_type_is_shown(page: Page) -> None:
    choose(page, "#photo", "IMG_1.HEIC", FILES["IMG_1.HEIC"])
    assert_shown(page, "#photo", "IMG_1.HEIC")


def drop_in(page: Page, zone: str, name: str, content: bytes, type: str) -> None:
    drop(page, f"{zone} button.upload-container", name, content, type)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "give"),
    [pytest.param((390, 844), choose, id="chosen-phone"), pytest.param((1280, 900), drop_in, id="dropped-desktop")],
    indirect=["page"],
)
def test_every_format_of_any_type_is_shown_and_painted(page: Page, give: Callable[..., None]) -> None:
    open_second_part(page)
    for number, (name, content) in enumerate(FILES.items()):
        zone = ("#photo", "#second-painting")[number % 2]
        give(page, zone, name, content, TYPES[number % len(TYPES)])
        assert_shown(page, zone, name)
        if number < len(FILES) - 2:  # the last two are painted
            page.locator(zone).get_by_label("Remove Image").click()
            expect(page.locator(f"{zone} img")).to_have_count(0)
    slider(page, "size").fill("64")
    slider(page, "iterations").fill("4")
    slider(page, "iterations").press("Tab")
    page.locator("#styles .tile").first.click()
    for name in ("IMG_1.HEIC", "print.tiff"):
        drop(page, "#photo img", name, FILES[name])  # onto the picture before it
        assert_shown(page, "#photo", name)
        page.get_by_role("button", name="Paint", exact=True).click()
        expect(page.locator("#status")).to_contain_text("Finished:")
        page.wait_for_function("document.querySelector('#result .after').naturalWidth == 64")
        assert page.locator("#result .after").evaluate("image => image.naturalHeight") == 40
        expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()


@only_desktop
def test_a_photo_that_is_chosen_while_the_page_is_still_being_built_is_not_lost(page: Page) -> None:
    page.wait_for_selector("#photo-upload", state="attached")
    page.evaluate(
        """() => {
          const upload = document.getElementById("photo-upload"), input = upload.previousElementSibling;
          const place = document.createComment(""); input.before(place);
          upload.remove(); input.remove();
          setTimeout(() => { place.after(input); input.after(upload); }, 500);
        }"""
    )
    choose(page, "#photo", "mine.png", encode(PICTURE, "PNG"), "image/png")
    assert_shown(page, "#photo", "mine.png")


@pytest.mark.slow
@only_phone
def test_a_file_that_is_no_picture_is_refused_in_a_sentence_and_the_picture_before_it_stays(page: Page) -> None:
    choose(page, "#photo", "mine.png", encode(PICTURE, "PNG"), "image/png")
    assert_shown(page, "#photo", "mine.png")
    for name, type in (("diary.txt", "text/plain"), ("diary.jpg", "image/jpeg"), ("diary", "")):
        drop(page, "#photo img", name, b"Dear diary, this is not a picture.", type)
        expect(page.locator("#photo-notice")).to_contain_text(f"{name} is not in a readable format")
        assert_shown(page, "#photo", "mine.png")
    expect(page.locator("#photo")).not_to_have_class("border_focus")
    drop(page, "#photo img", "IMG_1.HEIC", FILES["IMG_1.HEIC"])
    assert_shown(page, "#photo", "IMG_1.HEIC")
    expect(page.locator("#photo-notice")).to_have_count(0)


@pytest.mark.slow
@only_desktop
def test_a_second_painting_may_be_a_heic(page: Page) -> None:
    open_second_part(page)
    choose(page, "#second-painting", "IMG_1.HEIC", FILES["IMG_1.HEIC"])
    assert_shown(page, "#second-painting", "IMG_1.HEIC")


@pytest.mark.slow
@on_both
def test_while_a_file_is_on_its_way_the_page_says_so_and_nothing_moves(page: Page) -> None:
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
    network.send("Network.emulateNetworkConditions", slow)
    before = page.locator("#paint").bounding_box()
    drop(page, "#photo button.upload-container", "large.bmp", encode(PICTURE, "BMP"))
    expect(page.locator("#photo")).to_contain_text("large.bmp is on its way")
    assert page.locator("#paint").bounding_box() == before
    assert_shown(page, "#photo", "large.bmp")
    expect(page.locator("#photo .zone-note")).to_have_count(0)


@pytest.mark.parametrize("what", [what for what, (source, *_) in ODD.items() if isinstance(source, bytes)])
def test_a_preview_is_made_of_what_browsers_lack_and_of_nothing_else(tmp_path: Path, what: str) -> None:
    (tmp_path / "picture").write_bytes(ODD[what][0])
    preview = make_preview(str(tmp_path / "picture"))
    assert (preview is not None) == any(kind in what for kind in ("TIFF", "HEIC", "JPEG 2000", "PPM"))
    if preview:
        shown, engine = images.load(preview).image, images.load(tmp_path / "picture").image
        assert shown.size == engine.size
        difference = np.abs(np.asarray(shown, float) - np.asarray(engine, float))
        assert difference.max() < 8


def test_a_preview_is_upright_and_small_and_there_is_none_of_what_is_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "upside.tif"
    file.write_bytes(encode(PICTURE.resize((1280, 800)), "TIFF", exif=exif(6)))
    preview = make_preview(str(file))
    assert preview is not None
    with Image.open(BytesIO(preview)) as shown:
        assert shown.size == (640, 1024)
    file.write_bytes(b"Dear diary")
    assert make_preview(str(file)) is None
    assert make_preview(str(tmp_path / "missing")) is None


@pytest.mark.slow
def test_only_a_browser_that_shows_a_picture_gets_the_preview(client: Client, url: str, tmp_path: Path) -> None:
    file = tmp_path / "IMG_1.HEIC"
    file.write_bytes(FILES["IMG_1.HEIC"])
    (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": (file.name, file.read_bytes())}).json()
    address = f"{url}gradio_api/file={path}"
    shown = httpx.get(address, headers={"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"})
    assert shown.headers["content-type"] == "image/jpeg"
    assert images.load(shown.content).image.size == (160, 100)
    assert httpx.get(address).content == file.read_bytes()
    png = client.predict(
        photo=handle_file(file), painting=handle_file(PAINTING), size=64, iterations=1, api_name="/stylize"
    )[3]
    with Image.open(png) as painted:
        assert painted.size == (64, 40)
    refused = httpx.get(f"{url}gradio_api/file=/etc/hostname", headers={"Accept": "image/*"})
    assert refused.status_code == 403


def test_the_engine_gets_the_file_itself(tmp_path: Path) -> None:
    file = tmp_path / "IMG_1.HEIC"
    file.write_bytes(FILES["IMG_1.HEIC"])
    photo = HANDLERS.components.photo
    changes = HANDLERS.take_picture(photo, uploaded(file))
    assert changes[photo] == str(file)


@pytest.mark.slow
@only_desktop
def test_ten_files_in_quick_succession_end_with_the_last(page: Page) -> None:
    for number in range(10):
        drop(page, "#photo", f"{number}.png", encode(PICTURE, "PNG"), "image/png")
        page.wait_for_timeout(60 * number)
    assert_shown(page, "#photo", "9.png")
    page.wait_for_timeout(1000)
    assert_shown(page, "#photo", "9.png")


@pytest.mark.slow
@only_phone
def test_a_file_that_is_too_large_is_explained_in_its_box_until_another_is_chosen(page: Page) -> None:
    drop(page, "#photo button.upload-container", "mine.png", encode(PICTURE, "PNG"), "image/png")
    assert_shown(page, "#photo", "mine.png")
    assert page.evaluate("gradio_config.max_file_size") == server.MAX_FILE_BYTES
    page.evaluate("gradio_config.max_file_size = 1 << 20")  # a file of 20 MB would take minutes to get into the browser
    drop(page, "#photo img", "huge.png", bytes((1 << 20) + 1), "image/png")
    expect(page.locator("#photo [role=alert]")).to_have_text("More than 1 MB: choose a smaller file.")
    assert_shown(page, "#photo", "mine.png")
    drop(page, "#photo img", "third.png", encode(PICTURE, "PNG"), "image/png")
    assert_shown(page, "#photo", "third.png")
    expect(page.locator("#photo [role=alert]")).to_have_count(0)


@pytest.mark.slow
def test_a_file_that_is_lost_on_its_way_is_explained_in_its_box_until_another_is_chosen(
    browser: Browser, url: str
) -> None:
    page = browser.new_page()
    page.goto(url)
    page.route("**/upload*", lambda route: route.abort())
    drop(page, "#photo button.upload-container", "mine.png", encode(PICTURE, "PNG"), "image/png")
    expect(page.locator("#photo [role=alert]")).to_contain_text("did not reach the server")
    page.unroute("**/upload*")
    drop(page, "#photo button.upload-container", "mine.png", encode(PICTURE, "PNG"), "image/png")
    assert_shown(page, "#photo", "mine.png")
    expect(page.locator("#photo [role=alert]")).to_have_count(0)
    page.close()
