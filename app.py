"""Open the page: `python app.py`. Here are its options and its launch; page/layout.py says what is on it."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

from page import storage
from page.config import DEFAULT_PRESET, ServerConfig
from styletransfer import PRESETS, console, tune_process


def parse_options() -> argparse.Namespace:
    """Read the command line, before Gradio and torch take seconds to load. Exits if an option is wrong."""
    parser = argparse.ArgumentParser(description="Open the page on which a photo becomes a painting.")
    add = parser.add_argument
    add("--host", help="address to listen on (default 127.0.0.1, or $GRADIO_SERVER_NAME)")
    add("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    add("--share", action="store_true", help="also print a public link")
    add("--auth", metavar="USER:PASSWORD", help="ask visitors for this name and password")
    add(
        "--mcp",
        action="store_true",
        default="SPACE_ID" in os.environ,
        help="also offer the endpoints as tools to a language model (always on a Space)",
    )
    add("--preset", choices=PRESETS, default=DEFAULT_PRESET, help="preset to open with (default %(default)s)")
    limit = ServerConfig.max_run_seconds
    add("--limit", type=float, default=limit, metavar="SECONDS", help="how long a run may take (default %(default)g)")
    add("--weights", metavar="FILE", type=Path, help="paint with the VGG-19 in this .pth or .safetensors file")
    options = parser.parse_args()
    if options.weights and not options.weights.is_file():
        parser.error(f"there is no file {options.weights}: name a VGG-19 in .pth or .safetensors form")
    if options.auth and ":" not in options.auth:
        parser.error("--auth needs a name and a password: --auth anna:secret")
    return options


def main() -> None:
    """Serve the page until the process is told to end."""
    console.escape_unprintable()  # Gradio greets with pictographs
    options = parse_options()
    config = ServerConfig(max_run_seconds=options.limit, vgg19_file=options.weights, preset=options.preset)
    tune_process()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    with storage.create_folder():
        # Only now, since Gradio and torch read their environment when they are imported.
        from page import layout, server, worker
        from page.examples import examples
        from page.weights_download import Vgg19Download
        from styletransfer import backbones, weights

        download = None
        if not config.vgg19_file and not weights.cached_vgg19():
            download = Vgg19Download()
            download.start()
        if worker.ZERO_GPU:
            backbones.load(vgg19_file=config.vgg19_file)  # at launch ZeroGPU takes what its workers will get
        server.log_to_stderr()
        page = layout.build(config, download)
        server.launch(
            page,
            theme=layout.THEME,
            css_paths=[layout.CSS],
            mcp_server=options.mcp,
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=tuple(options.auth.split(":", 1)) if options.auth else None,
            prevent_thread_lock=True,
        )
        if not worker.ZERO_GPU:
            photo, painting, _ = examples()[0]
            request = worker.Request(photo, (painting,), PRESETS[config.preset], folder=Path(), config=config)
            threading.Thread(target=worker.warm_up, args=(request,), daemon=True).start()
        page.block_thread()


if __name__ == "__main__":
    main()
