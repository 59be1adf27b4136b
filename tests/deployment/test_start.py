"""The start of the page at addresses that work, and mistakes in its options, which end in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from page import server
from tests.data import ROOT
from tests.page.helpers import parse_options, small_request

Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """A function that starts the page with options that are wrong, and gives what it says."""

    def start(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["app.py", *options])
        with pytest.raises(SystemExit) as ended:
            parse_options()
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return start


@pytest.mark.parametrize("port", ["80000", "65536", "0", "-1", "abc", "7860.5", ""])
def test_a_number_that_is_no_port_is_refused(refusal: Refusal, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    assert f"--port: '{port}' is no port: choose one from 1 to 65535" in refusal(f"--port={port}")
    monkeypatch.setenv("GRADIO_SERVER_PORT", port)
    assert f"$GRADIO_SERVER_PORT: '{port}' is no port" in refusal()


@pytest.mark.parametrize("size", ["63", "99999", "-5", "large", "512.5", ""])
def test_a_largest_size_that_no_painting_can_have_is_refused(refusal: Refusal, size: str) -> None:
    assert f"--max-size: '{size}' is no size: choose one from 64 to" in refusal(f"--max-size={size}")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost"])
def test_a_port_in_use_is_refused(refusal: Refusal, host: str) -> None:
    with socket.create_server(("::1", 0) if host == "::1" else ("", 0), family=family(host)) as other:
        port = other.getsockname()[1]
        assert f"port {port} is in use" in refusal("--host", host, "--port", str(port))


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.77", "2001:db8::77", "http://127.0.0.1", "ä" * 70])
def test_a_host_that_is_not_this_machine_is_refused(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert f"{host} is no address of this machine" in refusal("--host", host)
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    assert f"{host} is no address of this machine" in refusal()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv of Linux takes the right to open low ports away")
def test_a_port_for_administrators_is_refused_in_one_sentence() -> None:
    without_right = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    bind = "import socket; socket.create_server(('127.0.0.1', 81))"
    if (
        b"PermissionError"
        not in subprocess.run([*without_right, sys.executable, "-c", bind], capture_output=True).stderr
    ):
        pytest.skip("every user may open low ports on this machine")
    command = [*without_right, sys.executable, "app.py", "--port", "81"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("is for administrators only: choose a --port from 1024 upwards")
    assert "Traceback" not in done.stderr


@contextmanager
def running(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """The address of a page that was started with these options. It paints with VGG-16."""
    script = """
import app
from page.weights_download import Vgg19Download
from styletransfer import weights
weights.cached_vgg19 = lambda: None
Vgg19Download.start = lambda self: None
app.main()
"""
    environ = {**os.environ, "TMPDIR": str(folder), **environment}
    command = [sys.executable, "-u", "-c", script, *options]
    page = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in page.stdout or ():
            said.append(line)
            if "To create a public link" in line:  # said once the page has answered
                break
        found = re.findall(r"http://\S+", "".join(said))
        assert found, "".join(said)
        yield f"{found[0]}/"
    finally:
        page.terminate()
        page.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "localhost"])
def test_the_page_opens_at_an_address_of_ipv6_and_at_a_name(host: str, tmp_path: Path) -> None:
    with running(tmp_path, "--host", host) as url:
        assert httpx.get(f"{url}health").status_code == 200


@pytest.mark.slow
def test_the_page_opens_at_an_address_of_ipv6_in_the_environment(tmp_path: Path) -> None:
    with running(tmp_path, GRADIO_SERVER_NAME="::1") as url:
        assert url.startswith("http://[::1]:")


@pytest.mark.slow
def test_without_a_free_port_the_start_ends_with_one_sentence() -> None:
    with socket.create_server(("", 0)) as other:
        taken = {"GRADIO_SERVER_PORT": str(other.getsockname()[1]), "GRADIO_NUM_PORTS": "1"}
        command = [sys.executable, "app.py"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **taken}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "No free port was found at 127.0.0.1: choose one with --port."
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_page_that_does_not_answer_ends_with_one_sentence() -> None:
    script = """
import httpx, app
def head(url, **_): raise httpx.ConnectTimeout(url)
httpx.head = head
app.main()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("The page does not answer at 127.0.0.1: end what keeps this machine")
    assert "Traceback" not in done.stderr


NOWHERE = "127.0.0.1:9"  # discard: nobody listens there


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "proxies"),
    [
        ("127.0.0.1", {"http_proxy": f"http://{NOWHERE}", "https_proxy": f"http://{NOWHERE}"}),
        ("0.0.0.0", {"HTTP_PROXY": f"http://{NOWHERE}", "NO_PROXY": "company.example"}),
        ("::1", {"ALL_PROXY": NOWHERE, "no_proxy": ""}),
        (socket.gethostname(), {"all_proxy": f"socks5://{NOWHERE}"}),
        ("localhost", {"http_proxy": f"http://{NOWHERE}", "no_proxy": "*"}),
    ],
)
def test_the_page_starts_and_paints_although_the_environment_names_a_proxy(
    host: str, proxies: dict[str, str], tmp_path: Path
) -> None:
    with running(tmp_path, "--host", host, "--mcp", **proxies) as url:
        client = Client(url.replace("0.0.0.0", "127.0.0.1"), verbose=False)
        assert client.predict(**small_request())[3]


def test_a_proxy_that_cannot_be_used_is_refused_in_one_sentence(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "ftp://proxy.example")
    assert "a proxy in the environment (http_proxy, https_proxy, all_proxy) cannot be used" in refusal()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "localhost,127.0.0.1,::1,photo.lan"),
        ({"NO_PROXY": "a.example,::1"}, "a.example,::1,localhost,127.0.0.1,photo.lan"),
        ({"NO_PROXY": "a.example", "no_proxy": "b.example"}, "b.example,localhost,127.0.0.1,::1,photo.lan"),
        ({"NO_PROXY": "*"}, None),
    ],
)
def test_what_the_environment_excludes_from_its_proxy_stays_excluded(
    before: dict[str, str], after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(before)
    monkeypatch.setattr(os, "environ", environment)
    server.reach_without_proxy("photo.lan")
    assert environment == ({"no_proxy": after, "NO_PROXY": after} if after else before)
