"""Open the page: `python app.py`. Here are its options and its launch; page/layout.py says what is on it."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import re
import secrets
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from page import storage
from page.config import DEFAULT_PRESET, MAX_WAITING, ServerConfig
from styletransfer import PRESETS, console, tune_process
from styletransfer.settings import knobs

if TYPE_CHECKING:
    from page.worker import Request


def read_origin(text: str) -> str:
    """An origin as browsers write it, or "null". Raises argparse.ArgumentTypeError if it is none."""
    if text == "null":
        return text
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if not re.fullmatch(r"https?://[^/?#@%]+/?", str(url)) or (url.port or 0) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no origin: write one as https://site.example, or null")
    return f"{url.scheme}://{url.netloc.decode()}"


def read_port(text: str) -> int:
    """A port's number. Raises argparse.ArgumentTypeError if it is none."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: choose one from 1 to 65535")
    return int(text)


def read_size(text: str) -> int:
    """A longest side in pixels. Raises argparse.ArgumentTypeError if no painting can have it."""
    knob = knobs()["size"]
    if not text.isdecimal() or not knob.low <= int(text) <= knob.high:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: choose one from {knob.low:g} to {knob.high:g} pixels")
    return int(text)


def read_number(text: str) -> int:
    """A number from 1 to 100 000. Raises argparse.ArgumentTypeError if it is none."""
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)


def explain_painters(options: argparse.Namespace) -> str:
    """What is wrong with the options for painters on Ray; empty if nothing is."""
    if not options.painters:
        return (
            "--painter-cpus and --painter-gpus need --painters" if options.painter_cpus or options.painter_gpus else ""
        )
    if not 0 <= options.painter_gpus <= 64:
        return "--painter-gpus must be from 0 to 64; 0.5 lets two painters share one"
    if options.painters.startswith("ray://"):
        return (
            "pictures cannot be sent through a Ray Client (ray://): start Ray on this machine as one of the cluster's "
            "nodes (ray start --address=HOST:6379 --num-cpus=0), and say --painters auto"
        )
    if not find_spec("ray"):
        return "--painters needs Ray: pip install -r requirements-ray.txt"
    return ""


def try_address(host: str, port: int | None) -> None:
    """Listen for a moment as the server will, at any port if `port` is None. Raises ValueError with what is wrong."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(loop.create_server(asyncio.Protocol, host, port or 0)).close()
    except PermissionError as error:
        raise ValueError(f"port {port} is for administrators only: choose a --port from 1024 upwards") from error
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ValueError(f"port {port} is in use: end the other program, or choose another --port") from error
        raise ValueError(
            f"{host} is no address of this machine: let --host be 127.0.0.1, or 0.0.0.0 to serve the whole network"
        ) from error
    finally:
        loop.close()


def parse_options() -> argparse.Namespace:
    """Read the command line, before Gradio and torch take seconds to load. Exits if an option is wrong."""
    parser = argparse.ArgumentParser(description="Open the page on which a photo becomes a painting.")
    add = parser.add_argument
    add("--host", help="address to listen on (default 127.0.0.1, or $GRADIO_SERVER_NAME)")
    add("--port", type=read_port, help="port to listen on (default: the first free one from 7860)")
    add("--share", action="store_true", help="also print a public link")
    add("--auth", metavar="USER:PASSWORD", help="ask visitors for this name and password")
    add(
        "--mcp",
        action="store_true",
        default="SPACE_ID" in os.environ,
        help="also offer the endpoints as tools to a language model (always on a Space)",
    )
    add(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        type=read_origin,
        help="let pages of this other site use the server, as https://site.example; null: sandboxed frames, which any "
        "site can make (may be repeated; default $STYLETRANSFER_ALLOW_ORIGIN, or none)",
    )
    add("--preset", choices=PRESETS, default=DEFAULT_PRESET, help="preset to open with (default %(default)s)")
    limit = ServerConfig.max_run_seconds
    knob, default = knobs()["size"], ServerConfig.max_size
    add(
        "--max-size",
        type=read_size,
        default=default,
        metavar="PIXELS",
        help=f"longest side of a painting, from {knob.low:g} to {knob.high:g} (default {default})",
    )
    add("--limit", type=float, default=limit, metavar="SECONDS", help="how long a run may take (default %(default)g)")
    add(
        "--waiting",
        type=read_number,
        default=MAX_WAITING,
        metavar="N",
        help="how many visitors may wait for their turn (default %(default)d)",
    )
    add(
        "--painters",
        metavar="ADDRESS",
        help="paint with Ray: on this machine (ray), or in the cluster at this address, as one of its nodes",
    )
    add(
        "--painter-cpus",
        type=read_number,
        metavar="N",
        help="processor cores of each of Ray's painters (default: all of its machine, or its GPUs' share of them)",
    )
    add("--painter-gpus", type=float, default=0.0, metavar="N", help="GPUs of each of Ray's painters (default 0)")
    add("--weights", metavar="FILE", type=Path, help="paint with the VGG-19 in this .pth or .safetensors file")
    options = parser.parse_args()
    if options.weights and not options.weights.is_file():
        parser.error(f"there is no file {options.weights}: name a VGG-19 in .pth or .safetensors form")
    if options.auth and ":" not in options.auth:
        parser.error("--auth needs a name and a password: --auth anna:secret")
    variable = "GRADIO_SERVER_PORT"  # Gradio reads it, and takes the first free port from there
    try:
        read_port(os.environ.get(variable, "7860"))
        variable = "STYLETRANSFER_ALLOW_ORIGIN"
        if options.allow_origin is None:
            named = os.environ.get(variable, "").replace(",", " ").split()
            options.allow_origin = [read_origin(name) for name in named]
    except argparse.ArgumentTypeError as error:
        parser.error(f"${variable}: {error}")
    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        parser.error(f"a proxy in the environment (http_proxy, https_proxy, all_proxy) cannot be used: {error}")
    if said := explain_painters(options):
        parser.error(said)
    options.host = (options.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1").strip("[]")
    try:
        try_address(options.host, options.port)
    except ValueError as error:
        parser.error(str(error))
    return options


def start_painters(options: argparse.Namespace, config: ServerConfig, warm_up_requests: list[Request]) -> None:
    """Let Ray's painters have the work of this page. Exits if no cluster can be reached."""
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if options.painters == "ray":  # its ports trust whoever has the token, and are reached from this machine only
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from page import ray_painters
    from page.queue import QUEUE

    try:
        ray_painters.connect(options.painters)
    except ConnectionError as error:
        print(f"{error}: start it with ray start --head, or say --painters ray.", file=sys.stderr)
        sys.exit(2)
    ray_painters.RayPainters(
        QUEUE, cpus=options.painter_cpus, gpus=options.painter_gpus, config=config, requests=warm_up_requests
    ).start()


def main() -> None:
    """Serve the page until the process is told to end."""
    console.escape_unprintable()  # Gradio greets with pictographs
    options = parse_options()
    config = ServerConfig(options.limit, options.weights, options.preset, options.max_size)
    tune_process()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # Here Gradio looks for a free port, with a socket that knows no IPv6.
    os.environ["GRADIO_SERVER_NAME"] = "127.0.0.1" if ":" in options.host else options.host
    with storage.create_folder() as folder:
        # Only now, since Gradio and torch read their environment when they are imported.
        from page import layout, run, server, worker
        from page.examples import examples
        from page.queue import QUEUE
        from page.session import VISITS
        from page.sketches import sketch_settings
        from page.weights_download import Vgg19Download
        from styletransfer import backbones, weights

        download = None
        if not config.vgg19_file and not weights.cached_vgg19():
            download = Vgg19Download()
            download.start()
        if worker.ZERO_GPU:
            backbones.load(vgg19_file=config.vgg19_file)  # at launch ZeroGPU takes what its workers will get
        server.log_to_stderr()
        QUEUE.max_waiting = options.waiting
        photo, painting, _ = examples()[0]
        settings = config.limit_size(PRESETS[config.preset])
        warm_up_requests = [
            worker.Request(photo, (painting,), settings, folder=Path(), config=config)
            for settings in (settings, sketch_settings(settings, config))
        ]
        if options.painters:
            start_painters(options, config, warm_up_requests)
        storage.keep_room(folder, VISITS.files)
        page = layout.build(config, download)
        try:
            server.launch(
                page,
                options.allow_origin,
                **layout.LOOK,
                mcp_server=options.mcp,
                server_name=f"[{options.host}]" if ":" in options.host else options.host,
                server_port=options.port,
                share=options.share,
                auth=tuple(options.auth.split(":", 1)) if options.auth else None,
                prevent_thread_lock=True,
            )
        except (OSError, ValueError) as error:
            if "Cannot find empty port" in str(error):
                said = f"No free port was found at {options.host}: choose one with --port."
            elif "localhost is not accessible" in str(error):
                said = (
                    f"The page does not answer at {options.host}: end what keeps this machine busy, and start it again."
                )
            else:
                raise
            print(said, file=sys.stderr)
            sys.exit(2)
        if not worker.ZERO_GPU and not options.painters:
            threading.Thread(target=run.warm_up, args=warm_up_requests, daemon=True).start()
        page.block_thread()


if __name__ == "__main__":
    main()
