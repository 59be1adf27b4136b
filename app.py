"""The page: a photo turns into a painting while you watch. Blocks and events; styletransfer computes."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from page import choose, disk, run, serve, turn, watch
from page.watch import Job
from styletransfer import PRESETS, Settings, backbones, record, weights

CSS = Path(__file__).with_name("page") / "page.css"
THEME = gr.themes.Soft(
    primary_hue=gr.themes.colors.indigo,
    secondary_hue=gr.themes.colors.amber,
    neutral_hue=gr.themes.colors.stone,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(  # paper, and darker colours than Soft's for contrast
    body_background_fill="#f7f2e8",
    body_background_fill_dark="#1b1815",
    block_background_fill="#fffdf8",
    block_background_fill_dark="#26221e",
    block_border_width="1px",
    block_border_color="#e4dac6",
    block_border_color_dark="#453d34",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_text_color="white",
    block_label_text_color="*primary_700",
    block_title_text_color="*primary_700",
    body_text_color_subdued="*neutral_600",
    checkbox_label_background_fill_selected="*primary_700",
)

SHOW_OUTCOME = """() => setTimeout(() => document.getElementById("outcome")?.scrollIntoView({
    behavior: "smooth", block: window.innerWidth < 640 ? "start" : "nearest"}), 100)"""

NAMES = "|".join(("photo", "painting", "preset", *turn.TURNED))
ASKED = f"() => /[?&]({NAMES})=/.test(location.search) ? location.search.slice(1) : ''"  # a host adds its own


def build(download: backbones.Vgg19Download | None = None, preset: str = turn.DEFAULT) -> gr.Blocks:
    """The page; `download` is the one whose state it shows, and `preset` the one it opens with."""
    with gr.Blocks(title="Photo to painting", delete_cache=(3600, 86400)) as page:
        private: dict[str, Any] = {"queue": False, "api_visibility": "private"}
        job = gr.State(Job())
        asked = gr.Textbox(visible="hidden", label="What the link asks for", container=False)
        gr.Markdown(
            "# Photo to painting\nPress an example, or choose a photo and a painting; then press **Paint** and watch.",
            elem_id="title",
        )
        pairs = choose.strip()
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=5, elem_id="left"):
                with gr.Column(elem_id="choose"):
                    with gr.Row():
                        photo, painting = choose.picture("Photo", webcam=True), choose.picture("Painting")
                    notice = gr.Markdown(visible=False, elem_id="notice")
                    start = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
                with gr.Accordion("Styles", open=False):
                    gallery = choose.gallery()
                    lucky = gr.Button("Surprise me", size="sm")
                with gr.Accordion("Change it, even while it is being painted", open=False):
                    live = [turn.turner(name, PRESETS[preset]) for name in turn.LIVE]
                    preview = gr.Image(
                        alt_text="The picture in about these colours",
                        label="About these colours",
                        format="jpeg",
                        interactive=False,
                        height=220,
                        buttons=[],
                        elem_id="preview",
                    )
                with gr.Accordion("Before you start", open=False):
                    presets = gr.Dropdown(list(PRESETS), value=preset, label="Preset", filterable=False)
                    beforehand = [turn.turner(name, PRESETS[preset]) for name in turn.BEFOREHAND]
                    second = choose.picture("Second painting")
            with gr.Column(scale=5, visible=False, elem_id="outcome") as outcome:
                view = gr.Image(
                    alt_text="The picture as it is being painted",
                    label="Result",
                    format="jpeg",
                    interactive=False,
                    height=420,
                    buttons=["fullscreen"],
                    elem_id="result",
                )
                told = gr.HTML(watch.told("Nothing painted yet."), elem_id="status")
                with gr.Row():
                    pause = gr.Button(
                        "Pause", min_width=80, interactive=False, elem_id="pause", visible=not run.ZERO_GPU
                    )
                    stop = gr.Button("Stop", min_width=80, variant="stop", interactive=False, elem_id="stop")
                    more = gr.Button("More", min_width=80, interactive=False, elem_id="more")
                with gr.Row():
                    file = gr.DownloadButton("Save PNG", min_width=80, interactive=False, elem_id="download")
                    lapse = gr.DownloadButton("Time-lapse", min_width=80, interactive=False, elem_id="lapse")
                plot = gr.Plot(label="Loss by step", show_label=False, elem_id="curves")
                with gr.Accordion("Before and after", open=False):
                    compare = gr.ImageSlider(
                        label="Before and after", interactive=False, format="jpeg", elem_id="compare"
                    )
                with gr.Accordion("This visit's pictures", open=False):
                    history = gr.Gallery(
                        label="This visit's pictures",
                        allow_preview=False,
                        interactive=False,
                        columns=4,
                        elem_id="history",
                    )
                with gr.Accordion("Share", open=False):
                    link = gr.Textbox(label="A link to these settings", interactive=False, elem_id="link")
                    share = gr.Button("Make a link", size="sm", elem_id="share")
        whole = gr.Image(visible=False, format="png", label="Finished picture")
        if download:
            backbone = gr.Markdown(download.status, elem_id="backbone")
            gr.Timer(2).tick(lambda: download.status, None, backbone, show_progress="hidden", **private)

        sliders = [*beforehand, *live]
        inputs = [job, photo, painting, presets, *sliders, second]
        buttons = [start, lucky, more, pause, stop]
        painted = [view, told, plot, file]
        place: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "paint"}
        kept = [file, lapse, compare, history]

        def on(click: Any, run: Any, **options: Any) -> None:
            began = click(watch.begin, job, [*buttons, told, outcome], **private)
            began.then(None, js=SHOW_OUTCOME)
            # On the status line Gradio says the place in the queue and the seconds.
            done = began.then(run, inputs, painted, show_progress="minimal", show_progress_on=told, **place, **options)
            done.success(watch.end, job, buttons, **private).then(show, job, kept, **private)
            done.failure(watch.fail, job, [*buttons, told, outcome], **private)

        on(start.click, watch.stylize, api_name="stylize")
        on(more.click, watch.paint_more, api_visibility="private")
        lucked = lucky.click(choose.surprise, None, [photo, painting], **private)
        on(lucked.then, watch.stylize, api_visibility="private")
        gr.on([], watch.paint, [photo, painting, presets], whole, api_name="paint", **place)

        stop.click(watch.stop, job, **private)
        pause.click(watch.pause, job, pause, **private)
        for slider in live:
            slider.input(watch.steer, [job, presets, *sliders], trigger_mode="always_last", preprocess=False, **private)
        pairs.select(fill, job, [photo, painting, presets, *sliders, *painted, outcome], **private)
        gallery.select(pick, None, painting, **private)
        turned = presets.input(lambda name: turn.turn_to(PRESETS[name]), presets, sliders, **private)
        turned.then(watch.steer, [job, presets, *sliders], **private)
        for drop in (photo, painting):
            restored = drop.upload(restore, drop, [presets, *sliders, notice], **private)
            restored.then(watch.steer, [job, presets, *sliders], **private)
        colours = live[list(turn.LIVE).index("colours")]
        for change in (colours.change, photo.change, painting.change):
            change(watch.preview, [job, photo, painting, colours], preview, show_progress="hidden", **private)
        history.select(reopen, job, [view, told, plot, file, lapse, compare, presets, *sliders], **private)
        share.click(turn.query, [photo, painting, presets, *sliders], link, **private).then(
            None, link, link, js="query => location.origin + location.pathname + '?' + query"
        )
        page.load(None, None, asked, js=ASKED, **private)
        # What a link touches is touched by a link only: a late gr.skip resets what was typed.
        asked.change(follow, asked, [photo, painting, presets, *sliders, notice], **private)
    return page


def fill(job: Job, event: gr.SelectData) -> tuple[Any, ...]:
    """An example was pressed: its pictures, the settings it was painted with and, unless a run is on, its result."""
    example = choose.examples()[event.index]
    if job.running:
        return example.photo, example.painting, *([gr.skip()] * (6 + len(turn.TURNED)))
    job.seen = True
    said = watch.told("This is what the pair gives. Press Paint to see it form.")
    shown = example.result, said, None, None, gr.update(visible=True)
    return example.photo, example.painting, turn.DEFAULT, *turn.turn_to(PRESETS[turn.DEFAULT]), *shown


def pick(event: gr.SelectData) -> str:
    """A style was pressed: it is the painting."""
    return choose.styles()[event.index][0]


def show(job: Job) -> tuple[Any, ...]:
    """What a finished run leaves: its PNG, time-lapse, before and after, and all pictures so far."""
    last = job.current
    pictures = [(kept.file, kept.caption) for kept in job.kept]
    if not last:  # it could not be saved
        off = gr.update(value=None, interactive=False)
        return off, off, None, pictures
    on = gr.update(interactive=True)
    return on, gr.update(value=last.lapse, interactive=True), (last.before, last.file), pictures


def reopen(job: Job, event: gr.SelectData) -> tuple[Any, ...]:
    """A picture of this visit was pressed: it is shown again, and the sliders stand as they did for it."""
    if job.running:
        return (gr.skip(),) * (7 + len(turn.TURNED))
    kept = job.current = job.kept[event.index]
    said = watch.told(f"Picture {kept.caption}: More goes on from it.")
    return kept.file, said, None, kept.file, kept.lapse, (kept.before, kept.file), *_set_again(kept.settings)


def restore(path: str | None) -> tuple[Any, ...]:
    """A picture was dropped: if it is one of ours, its settings come back."""
    settings = record.read(path) if path else None
    if not settings:
        return *(gr.skip(),) * (1 + len(turn.TURNED)), _noted("")
    said = "The settings inside this picture are set again."
    if not turn.preset_of(settings):
        said += " Those that are not on this page are left out: the command line has them all."
    return *_set_again(settings), _noted(said)


def _set_again(settings: Settings) -> tuple[Any, ...]:
    return turn.preset_of(settings) or gr.skip(), *turn.turn_to(settings)


def follow(query: str) -> tuple[Any, ...]:
    """The page as the link has it."""
    found, sentence = turn.opened(dict(parse_qsl(query)))
    return *found, _noted(sentence)


def _noted(sentence: str) -> Any:
    return gr.update(value=sentence, visible=bool(sentence))


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the page on which a photo becomes a painting.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1, or $GRADIO_SERVER_NAME)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also print a public link")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors for these")
    parser.add_argument(
        "--mcp",
        action="store_true",
        default="SPACE_ID" in os.environ,
        help="also offer the endpoints as tools to a language model (on a Space they always are)",
    )
    parser.add_argument("--preset", choices=PRESETS, default=turn.DEFAULT, help="to open with (default %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=run.LONGEST_RUN, help="seconds that a run may take (%(default)g)"
    )
    parser.add_argument("--weights", metavar="FILE", help="paint with the VGG-19 in this .pth or .safetensors file")
    options = parser.parse_args()
    if options.weights and not Path(options.weights).is_file():
        parser.error(f"there is no file {options.weights}: name a VGG-19 in .pth or .safetensors form")
    if options.weights:
        os.environ["STYLETRANSFER_VGG19"] = options.weights
    if options.auth and ":" not in options.auth:
        parser.error("--auth needs a name and a password: --auth anna:secret")
    run.LONGEST_RUN = options.limit
    download = None
    if weights.cached_vgg19() is None:
        download = backbones.Vgg19Download()
        download.start()
    if run.ZERO_GPU:
        backbones.choose()  # placed before launch, which is when ZeroGPU takes what its workers get
    serve.log_to_stderr()
    with disk.own_folder():
        page = build(download, options.preset)
        serve.launch(
            page,
            theme=THEME,
            css_paths=[CSS],
            mcp_server=options.mcp,
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=tuple(options.auth.split(":", 1)) if options.auth else None,
            prevent_thread_lock=True,
        )
        if not run.ZERO_GPU:
            photo, painting, _ = choose.examples()[0]
            warming = photo, painting, PRESETS[options.preset]
            threading.Thread(target=run.warm_up, args=warming, daemon=True).start()
        page.block_thread()


if __name__ == "__main__":
    main()
