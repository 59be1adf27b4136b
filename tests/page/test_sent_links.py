"""Links to the page: what they carry in a browser, and what a messenger shows of them."""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from page import examples, link_preview
from page.examples import EXAMPLES
from tests.data import PHOTO
from tests.page.conftest import serve
from tests.page.helpers import PATIENCE, only_desktop, open_second_part, slider

CAT = "?v=2&photo=chelsea&painting=woodcut&preset=quick"
WANTED = {"description", "og:title", "og:description", "og:url", "og:image", "og:type", "twitter:card"}


class Head(HTMLParser):
    """The tags of a page by which it is shown elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, str] = {}
        self.counts = Counter[str]()
        self._in_title = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "meta" and (name := said.get("property") or said.get("name")):
            self._add(name, said["content"])
        if tag == "link" and "icon" in said["rel"].split():
            self._add("icon", said["href"])
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._add("title", data)
            self._in_title = False

    def _add(self, name: str, value: str) -> None:
        self.tags[name] = value
        self.counts[name] += 1


def read_head(url: str, query: str = "", **headers: str) -> Head:
    return Head(httpx.get(url + query, headers=headers).raise_for_status().text)


def assert_can_be_shown(url: str, head: Head) -> None:
    """All tags are there once, none is Gradio's, and the picture and the icon load for whoever asks."""
    assert set(head.tags) >= WANTED | {"title", "icon"}
    assert set(head.counts.values()) == {1}, head.counts
    assert all(head.tags.values())
    assert "gradio" not in " ".join(head.tags.values()).lower()
    picture = httpx.get(
        head.tags["og:image"].replace(head.tags["og:image"].rpartition("/preview/")[0], url.rstrip("/"))
    )
    with Image.open(io.BytesIO(picture.raise_for_status().content)) as shown:
        assert shown.format == "JPEG" and min(shown.size) >= 300  # the least that a large card needs
    with Image.open(io.BytesIO(httpx.get(urljoin(url, head.tags["icon"])).raise_for_status().content)) as icon:
        assert icon.size == Image.open(link_preview.ICON).size


def test_a_sent_address_shows_the_pages_own_title_sentence_and_picture(url: str) -> None:
    head = read_head(url)
    assert_can_be_shown(url, head)
    assert head.tags["og:title"] == head.tags["title"] == "Photo to painting"
    assert head.tags["og:image"] == f"{url}preview/thumbnail.jpg"
    assert head.tags["og:url"] == url
    assert head.tags["og:description"] == head.tags["description"]
    assert head.tags["twitter:card"] == "summary_large_image"


def test_a_sent_link_to_a_finished_example_shows_its_result_and_says_what_it_is(url: str) -> None:
    head = read_head(url, CAT)
    assert_can_be_shown(url, head)
    assert head.tags["og:title"] == "Cat as a woodcut"
    assert head.tags["og:url"] == url + CAT
    shown = httpx.get(head.tags["og:image"]).content
    assert shown == (EXAMPLES / "results" / "chelsea--woodcut.jpg").read_bytes()


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("?v=2&photo=chelsea&painting=mosaic", "Cat as a mosaic"),  # no finished pair
        ("?painting=woodcut", "Your photo as a woodcut"),
        (f"{CAT}&second_painting=mosaic", "Cat as a woodcut and as a mosaic"),
        ("?photo=chelsea", "Photo to painting"),
        ("?photo=nobodys&painting=../../app&size=huge", "Photo to painting"),
        ('?painting="><script>alert(1)</script>&%00=%ff&&=;', "Photo to painting"),
    ],
)
def test_any_other_link_shows_the_picture_of_all_under_its_own_title(url: str, query: str, title: str) -> None:
    head = read_head(url, query)
    assert_can_be_shown(url, head)
    assert head.tags["og:title"] == title
    assert head.tags["og:image"].endswith("/preview/thumbnail.jpg")


def test_a_link_is_one_and_the_same_whatever_a_site_adds_to_it(url: str) -> None:
    assert read_head(url, f"{CAT}&fbclid=a1&utm_source=news&__theme=dark").tags["og:url"] == url + CAT
    assert read_head(url, "?fbclid=a1").tags["og:url"] == url


def test_every_link_to_pictures_of_ours_has_a_title_of_its_own() -> None:
    photos = {example.photo for example in examples.examples()}
    queries = [
        urlencode({"photo": Path(photo).stem, "painting": Path(painting).stem})
        for photo in photos
        for painting, _ in examples.styles()
    ]
    titles = [link_preview.describe_link(query).title for query in queries]
    assert len(set(titles)) == len(titles) == len(photos) * len(examples.styles())
    assert all(5 < len(title) < 60 and title == title.strip() for title in titles)
    results = {link_preview.describe_link(query).picture for query in queries}
    assert results == {Path(example.result).name for example in examples.examples()} | {"thumbnail.jpg"}


@pytest.mark.parametrize("name", ["nobodys.jpg", "..%2f..%2fapp.py", "chelsea.jpg", "%2fetc%2fpasswd"])
def test_a_preview_gives_no_other_file(url: str, name: str) -> None:
    assert httpx.get(f"{url}preview/{name}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"X-Forwarded-Host": "photo.example", "X-Forwarded-Proto": "https"}, "https://photo.example"),
        ({"Host": "anna-demo.hf.space", "X-Forwarded-Proto": "https,http"}, "https://anna-demo.hf.space"),
        ({"Host": "photo.lan:8080"}, "http://photo.lan:8080"),
    ],
)
def test_behind_a_proxy_the_picture_has_the_address_that_visitors_see(
    url: str, headers: dict[str, str], address: str
) -> None:
    head = read_head(url, CAT, **headers)
    assert_can_be_shown(url, head)
    assert head.tags["og:image"] == f"{address}/preview/chelsea--woodcut.jpg"
    assert head.tags["og:url"] == f"{address}/{CAT}"


@pytest.mark.parametrize("root_path", ["/style", "https://photo.example/style"])
def test_at_a_path_of_a_host_the_picture_and_icon_are_at_that_path(folder: Path, root_path: str) -> None:
    with serve(folder, root_path=root_path) as url:
        head = read_head(url, CAT, **{"Host": "photo.example", "X-Forwarded-Proto": "https"})
        assert_can_be_shown(url, head)
        assert head.tags["og:image"] == "https://photo.example/style/preview/chelsea--woodcut.jpg"
        assert head.tags["og:url"] == f"https://photo.example/style/{CAT}"
        assert urljoin("https://photo.example/style/", head.tags["icon"]) == "https://photo.example/style/favicon.ico"


@pytest.fixture
def locked(folder: Path) -> Iterator[str]:
    """The address of a page that asks for a name and a password."""
    with serve(folder, auth=("anna", "secret")) as address:
        yield address


def test_a_link_to_a_page_with_a_password_is_shown_as_well(locked: str) -> None:
    head = read_head(locked, CAT)
    assert_can_be_shown(locked, head)
    assert head.tags["og:title"] == "Cat as a woodcut"
    assert httpx.get(f"{locked}gradio_api/file={EXAMPLES}/thumbnail.jpg").status_code == 401


@pytest.mark.slow
def test_the_tab_and_a_frame_in_another_sites_page_show_our_title_and_icon(url: str, browser: Browser) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(f'<iframe src="{url}{CAT}" width="1200" height="700"></iframe>'.encode())

        def log_message(self, *_: Any) -> None:
            pass

    read = """async () => {
        const links = document.querySelectorAll("link[rel~=icon]");
        const icon = Object.assign(new Image(), { src: links[0].href });
        await icon.decode();
        return [links.length, icon.naturalWidth, document.title];
    }"""
    width = Image.open(link_preview.ICON).width
    page = browser.new_page()
    page.goto(url)
    expect(page.locator("#paint")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate(read) == [1, width, link_preview.TITLE]
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    page.goto(f"http://127.0.0.1:{elsewhere.server_port}/")
    expect(page.frame_locator("iframe").locator("#photo img")).to_be_visible(timeout=PATIENCE)
    assert page.frames[1].evaluate(read) == [1, width, link_preview.TITLE]
    page.close()
    elsewhere.shutdown()


@pytest.mark.slow
@only_desktop
def test_a_link_that_is_shown_follows_the_sliders_and_says_what_it_leaves_out(
    url: str, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{url}?v=2&photo=chelsea&painting=woodcut&second_painting=mosaic&mix=0.25&size=96")
    page.locator("#second-line").get_by_role("link", name="Mosaic").click()
    expect(page.locator("#second-painting img")).to_be_visible()
    expect(slider(page, "mix")).to_have_value("0.25")
    link, asked = page.locator("#link textarea, #link input"), []
    page.on("request", lambda request: asked.append(request.post_data or "") if "/run/" in request.url else None)
    slider(page, "mix").fill("0.5")
    slider(page, "mix").press("Tab")
    page.wait_for_timeout(1000)
    address = page.evaluate("JSON.stringify(location.origin + location.pathname)")  # as a link begins
    assert asked and not [data for data in asked if address in data], "nobody has asked for a link"
    expect(link).to_have_count(0)
    page.get_by_role("button", name="Make a link").click()
    expect(link).to_have_value(re.compile(r"^http.*second_painting=mosaic"))
    expect(page.locator("#link-note")).to_contain_text("exactly as it is now")
    slider(page, "mix").fill("0.75")
    slider(page, "mix").press("Tab")
    expect(link).to_have_value(re.compile(r"^http.*second_painting=mosaic.*mix=0\.75"))
    page.get_by_role("radio", name="Gatys").click()
    expect(link).to_have_value(re.compile("objective=gram"))
    complete = link.input_value()
    own = tmp_path / "chelsea.jpg"
    own.write_bytes(PHOTO.read_bytes() + b" ")
    page.set_input_files("#photo input[type=file]", own)
    expect(page.locator("#link-note")).to_contain_text("cannot carry your own photo: whoever opens it adds theirs")
    expect(link).not_to_have_value(re.compile("photo="))
    page.goto(complete)
    open_second_part(page)
    expect(page.locator("#second-painting img")).to_be_visible()
    page.reload()
    open_second_part(page)
    expect(page.locator("#second-painting img")).to_be_visible()
    expect(slider(page, "mix")).to_have_value("0.75")
    expect(page.get_by_role("radio", name="Gatys")).to_be_checked()
