"""The page behind reverse proxies: real nginx and Apache, with the blocks of docs/deploy.md and with less."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser, expect

from tests.data import PAINTING, PHOTO, ROOT
from tests.page.conftest import serve
from tests.page.helpers import PATIENCE, slider, small_request

DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
NGINX, NGINX_PATH = re.findall(r"```nginx\n(.*?)```", DEPLOY, re.S)
APACHE, APACHE_PATH = re.findall(r"```apache\n(.*?)```", DEPLOY, re.S)
NGINX_ONLY_THE_HOST = """
server {
    listen 80;
    location / {
        proxy_pass http://127.0.0.1:7860/;
        proxy_set_header X-Forwarded-Host $http_host;
    }
}
"""
APACHE_PLAINEST = """
<VirtualHost *:80>
    ProxyPass / http://127.0.0.1:7860/
</VirtualHost>
"""
NGINX_AROUND = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {block}
}}
"""
APACHE_AROUND = """
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog /dev/stderr
Listen {port}
ServerName photo.lan
{block}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


behind_each = pytest.mark.parametrize(
    ("path_and_url", "proxied"),
    [
        pytest.param("", ("nginx", NGINX), id="nginx"),
        pytest.param("", ("apache2", APACHE), id="apache"),
        pytest.param("", ("nginx", NGINX_ONLY_THE_HOST), id="nginx-only-the-host"),
        pytest.param("", ("apache2", APACHE_PLAINEST), id="apache-plainest"),
        pytest.param("/style", ("nginx", NGINX_PATH), id="nginx-path"),
        pytest.param("/style", ("apache2", APACHE_PATH), id="apache-path"),
    ],
    indirect=True,
)


@pytest.fixture(scope="module")
def path_and_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    """The path at which the page is to appear, and where it listens."""
    with serve(folder, root_path=request.param) as address:
        yield request.param, address


@pytest.fixture
def proxied(request: pytest.FixtureRequest, path_and_url: tuple[str, str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The path of a page behind a proxy, and the proxy's port."""
    program, block = request.param
    path, url = path_and_url
    command = shutil.which(program) or shutil.which(f"/usr/sbin/{program}")
    if not command:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing, and CI may not do without: apt-get install nginx apache2")
        pytest.skip(f"no {program} on this machine: apt-get install nginx apache2")
    port = free_port()
    block = block.replace("http://127.0.0.1:7860/", url).replace("listen 80;", f"listen {port};")
    block = block.replace("*:80>", f"*:{port}>").replace("photo.example", "photo.lan")
    around = NGINX_AROUND if program == "nginx" else APACHE_AROUND
    (tmp_path / "conf").write_text(around.format(folder=tmp_path, port=port, block=block))
    options = ["-p", str(tmp_path), "-c"] if program == "nginx" else ["-DFOREGROUND", "-f"]
    process = subprocess.Popen([command, *options, str(tmp_path / "conf")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while process.poll() is None and socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < deadline, "the proxy does not listen"
        time.sleep(0.1)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    yield path, port
    process.terminate()
    process.wait(20)


@pytest.mark.slow
@behind_each
def test_a_browser_on_the_local_network_paints_through_the_proxy(proxied: tuple[str, int], browser: Browser) -> None:
    path, port = proxied
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    said = errors.append
    page.on("console", lambda it: said(f"{it.text} {it.location['url']}") if it.type == "error" else None)
    page.goto(f"http://photo.lan:{port}{path}/?v=2&size=64&iterations=2")
    expect(slider(page, "size")).to_have_value("64", timeout=PATIENCE)  # the link has been followed
    page.set_input_files("#photo input[type=file]", PHOTO)
    page.set_input_files("#styles input[type=file]", PAINTING)
    expect(page.locator("#photo img")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#styles [aria-pressed=true]")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Finished:", timeout=PATIENCE)
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.path().stat().st_size > 0
    page.close()
    assert errors == []


@pytest.mark.slow
@behind_each
def test_a_program_paints_through_the_proxy_and_scripts_come_with_an_origin(proxied: tuple[str, int]) -> None:
    path, port = proxied
    address = f"http://127.0.0.1:{port}{path}/"
    said = {"Host": f"photo.lan:{port}", "Origin": f"http://photo.lan:{port}"}
    loaded = re.findall(r"(?:src|href)=\"\.(/assets/[^\"]+)", httpx.get(address, headers=said).text)
    assert len(loaded) > 1
    for name in loaded:
        assert httpx.get(f"{address.rstrip('/')}{name}", headers=said).status_code == 200
    files = {"files": ("photo.jpg", PHOTO.read_bytes(), "image/jpeg")}
    assert httpx.post(f"{address}gradio_api/upload", headers=said, files=files).status_code == 200
    client = Client(address, verbose=False)
    assert client.predict(**small_request())[3]
