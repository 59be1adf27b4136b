"""What strangers and other sites' pages can neither read nor start."""

from __future__ import annotations

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, expect

from page import server
from page.examples import EXAMPLES
from tests.data import ROOT, encode, noise, one_sentence
from tests.page.helpers import PATIENCE, small_request


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


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "app.py"), "../../../etc/passwd"])
def test_a_path_sent_for_a_picture_reads_no_file_of_the_server(url: str, client: Client, path: str) -> None:
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, None, "quick", *[None] * 4]
    started = httpx.post(f"{url}gradio_api/call/paint", json={"data": data}).json()
    said = httpx.get(f"{url}gradio_api/call/paint/{started['event_id']}", timeout=60).text
    assert "event: error" in said
    assert "root:" not in said
    assert client.predict(**small_request())[3]


ELSEWHERE = {"Host": "demo.example", "Origin": "https://elsewhere.example"}


@pytest.mark.parametrize("door", ["call/paint", "queue/join", "upload", "cancel", "reset"])
@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://other.demo.example", "Host": "demo.example"},
        ELSEWHERE,
        {**ELSEWHERE, "Sec-Fetch-Site": "cross-site", "X-Forwarded-Host": "elsewhere.example"},
        {"Host": "demo.example", "Origin": "null"},
        {"Host": "demo.example", "Origin": "null", "X-Forwarded-Host": ""},
        {"Host": "demo.example", "Origin": "http://[", "X-Forwarded-Host": "["},
    ],
)
def test_another_sites_page_can_start_nothing(url: str, door: str, said: dict[str, str]) -> None:
    body = {"content": "{}", "headers": {"Content-Type": "text/plain", **said}}
    assert httpx.post(f"{url}gradio_api/{door}", **body).status_code == 403


@pytest.mark.parametrize("door", ["config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"])
def test_another_sites_page_can_read_nothing(url: str, door: str) -> None:
    assert httpx.get(f"{url}{door}", headers=ELSEWHERE).status_code == 403


@pytest.mark.parametrize("host", ["demo.example", "127.0.0.1:7860"])
def test_another_sites_page_gets_no_leave_to_add_the_header_of_a_proxy(url: str, host: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-forwarded-host"}
    answer = httpx.options(f"{url}gradio_api/queue/join", headers={**ELSEWHERE, "Host": host, **asked})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_scripts_and_styles_come_through_whatever_the_proxy_says(url: str) -> None:
    page = httpx.get(url).text
    loaded = [*re.findall(r"(?:src|href)=\"\.(/assets/[^\"]+)", page), "/theme.css", "/static/img/logo.svg"]
    assert len(loaded) > 3
    for name in loaded:
        assert httpx.get(f"{url.rstrip('/')}{name}", headers=ELSEWHERE).status_code == 200


@pytest.mark.slow
def test_a_refusal_is_logged_once_with_its_reason_and_what_to_do(url: str, caplog: pytest.LogCaptureFixture) -> None:
    misled = {"Host": "127.0.0.1:7860", "Origin": "http://photo.lan"}
    for _ in range(3):
        httpx.post(f"{url}gradio_api/queue/join?secret=1", headers=misled, json={"data": "private"})
    httpx.post(f"{url}gradio_api/queue/join", headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://a.example"})
    first, second = [record.getMessage() for record in caplog.records if "refused" in record.message]
    assert "'http://photo.lan' asks, but Host is '127.0.0.1:7860'" in first
    assert "docs/deploy.md" in first
    assert "https://a.example" in second
    assert "private" not in caplog.text and "secret" not in caplog.text
    for number in range(2 * server.MAX_LOGGED_REFUSALS):
        httpx.post(f"{url}gradio_api/cancel", headers={"Host": "a", "Origin": f"http://{number}.example"})
    assert len(caplog.records) <= server.MAX_LOGGED_REFUSALS, "strangers do not fill the log"


@pytest.mark.parametrize(
    "said",
    [
        {},  # a program
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://demo.example"},  # a proxy that gives another host
        {"Origin": "http://demo.example", "Host": "demo.example"},
        {"Origin": "http://demo.example:8080", "Host": "demo.example"},  # a proxy that drops the port
        {"Origin": "http://photo.lan", "Host": "127.0.0.1:7860", "X-Forwarded-Host": "photo.lan"},
        {"Origin": "http://photo.lan:8080", "Host": "127.0.0.1", "X-Forwarded-Host": "photo.lan:8080, inner.lan"},
    ],
)
def test_the_pages_own_calls_and_programs_come_through(url: str, said: dict[str, str]) -> None:
    data = {"data": [None, None, "quick", *[None] * 4]}
    assert httpx.post(f"{url}gradio_api/call/paint", json=data, headers=said).status_code == 200


def test_a_link_from_another_site_opens_the_page(url: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert "Photo to painting" in httpx.get(url, headers=headers).text


@pytest.mark.slow
def test_a_real_browser_tells_the_other_sites_page_from_ours(url: str, browser: Browser) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    ask = """async ([address, mode]) => {
        const asked = {method: 'POST', mode, body: '{"data": [null, null, "quick", null, null]}'};
        if (mode == 'cors') asked.headers = {'content-type': 'application/json', 'x-forwarded-host': location.host};
        try { return (await fetch(address + 'gradio_api/call/paint', asked)).status } catch (error) { return 0 }
    }"""
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    page = browser.new_page()
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if "call/paint" in response.url else None)
    page.goto(f"http://127.0.0.1:{elsewhere.server_port}/")
    assert page.evaluate(ask, [url, "cors"]) == 0, "refused in the preflight, so that it is never sent"
    assert answers == []
    page.evaluate(ask, [url, "no-cors"])
    assert answers == [403]
    page.goto(url)
    assert page.evaluate(ask, [url, "cors"]) == 200
    page.close()
    elsewhere.shutdown()


@pytest.mark.slow
def test_after_a_run_the_browser_keeps_the_strip_of_paintings_and_nothing_of_gradios(
    url: str, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(f"{url}?v=2&photo=chelsea&painting=woodcut&size=64&iterations=2")
    expect(page.locator("#photo img")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Finished:", timeout=PATIENCE)
    kept = page.evaluate(
        """async () => ({ local: Object.keys(localStorage), session: Object.keys(sessionStorage),
                          databases: (await indexedDB.databases()).map((it) => it.name), caches: await caches.keys(),
                          workers: (await navigator.serviceWorker.getRegistrations()).length })"""
    )
    assert kept == {"local": [], "session": ["visit"], "databases": ["photo-to-painting"], "caches": [], "workers": 0}
    assert page.context.cookies() == []
    assert page.locator("footer").inner_text().strip() == "Use via API", "no runs, and no settings"
    assert httpx.get(f"{url}gradio_api/runs").status_code == 404
    page.close()


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/x.png", "http://[::1]:7860/config", "http://169.254.169.254/", "http://a.invalid/x.png"],
)
def test_an_address_of_this_machine_or_of_none_is_refused_in_one_sentence(client: Client, address: str) -> None:
    with pytest.raises(AppError, match="save the picture, and send the file") as caught:
        client.predict(**small_request(photo={"path": address, "meta": {"_type": "gradio.FileData"}}))
    assert one_sentence(caught.value)
