"""The page: a photo turns into a painting while you watch. Blocks and events; styletransfer computes."""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import plotly.graph_objects as go

from styletransfer import PRESETS, Frame, Losses, Settings, StyleTransferError, backbones, stylize, weights
from styletransfer.settings import knobs

EXAMPLES = Path(__file__).with_name("examples")
SECONDS_PER_VIEW = 0.4  # sending pictures more often costs more than it shows
SECONDS_PER_PLOT = 1.5
TURNED = ("size", "iterations", "content_weight", "style_weight", "tv_weight")  # settings that have a slider
CURVES = {"content": "#3b82c4", "style": "#d9573f", "tv": "#3f9b72", "total": "#8f7bd1"}
COMPUTE = threading.Lock()  # a cancelled job gives its slot away before its last step has ended


class Job:
    """What a visitor's Stop button and running picture share."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.running = False

    def __deepcopy__(self, memo: object) -> Job:
        return Job()  # each visitor's own


def paint(
    job: Job,
    photo: str | None,
    painting: str | None,
    preset: str,
    size: float,
    iterations: float,
    content_weight: float,
    style_weight_power_of_ten: float,
    tv_weight: float,
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Paint, yielding what has changed of: the picture, the status, the curves, the file to download."""
    positions = (size, iterations, content_weight, style_weight_power_of_ten, tv_weight)
    curves: list[Losses] = []
    viewed = plotted = 0.0
    try:
        settings = chosen(preset, positions)
        if not photo or not painting:
            raise StyleTransferError(f"Choose a {'painting' if photo else 'photo'} first.")
        yield gr.skip(), "Looking at the two pictures …", gr.skip(), gr.skip()
        frames = stylize(photo, painting, settings)
        while True:
            with COMPUTE:
                frame = next(frames)
            curves.append(frame.weighted if settings.tv_weight else frame.weighted._replace(tv=frame.losses.tv))
            if frame.iteration == frame.iterations or job.stopped.is_set():
                break
            now = time.monotonic()
            if now - viewed > SECONDS_PER_VIEW:
                viewed, plot = now, gr.skip()
                if now - plotted > SECONDS_PER_PLOT:
                    plotted, plot = now, figure(curves, frame)
                yield frame.picture, status(frame, "Painting", f"about {frame.remaining:.0f} s left"), plot, gr.skip()
        frames.close()
    except StyleTransferError as error:
        raise gr.Error(str(error), title="That does not work", print_exception=False) from error
    ended = "Stopped" if frame.iteration < frame.iterations else "Finished"
    with tempfile.TemporaryDirectory() as folder:
        png = Path(folder, "painting.png")
        frame.picture.save(png)
        yield frame.picture, status(frame, ended), figure(curves, frame), str(png)


def chosen(preset: str, positions: tuple[float, ...]) -> Settings:
    """The preset's settings, with what the sliders say."""
    if preset not in PRESETS:
        raise StyleTransferError(f"There is no preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    turned: dict[str, Any] = {name: knobs()[name].value(at) for name, at in zip(TURNED, positions, strict=True)}
    return replace(PRESETS[preset], **turned)


def status(frame: Frame, what: str, *more: str) -> str:
    """One line: where the run is, and below it what the user should know of it."""
    now = [
        f"**{what}**: {frame.iteration} of {frame.iterations}",
        f"at {frame.size} px",
        f"{frame.seconds:.0f} s",
        *more,
        frame.backbone.upper().replace("VGG", "VGG-"),
    ]
    return "\n\n".join([" · ".join(now), *frame.notes])


def figure(curves: list[Losses], frame: Frame) -> go.Figure:
    """The terms of the loss by iteration, on one logarithmic scale."""
    labels = {"content": "α content", "style": "β style", "tv": "γ smoothness", "total": "total"}
    if not frame.settings.tv_weight:
        labels["tv"] = "smoothness (γ = 0)"
    plot = go.Figure(
        [
            go.Scatter(
                x=list(range(1, len(curves) + 1)),
                y=[getattr(losses, term) or None for losses in curves],  # a logarithmic scale has no zero
                name=labels[term],
                mode="lines",
                line={"color": colour, "width": 3 if term == "total" else 2},
            )
            for term, colour in CURVES.items()
        ]
    )
    plot.update_layout(
        height=300,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "Loss by iteration", "range": [0, frame.iterations], "automargin": True},
        yaxis={"type": "log", "exponentformat": "power", "dtick": 1, "automargin": True},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        font={"color": "#808080"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="losses",
    )
    for update in (plot.update_xaxes, plot.update_yaxes):
        update(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return plot


def slider(name: str) -> gr.Slider:
    """The slider of a setting, from its knob."""
    knob = knobs()[name]
    label = f"{name.replace('_', ' ').capitalize()} {knob.symbol}".strip()
    return gr.Slider(
        knob.position(knob.low),
        knob.position(knob.high),
        value=knob.position(getattr(Settings(), name)),
        step=knob.step,
        label=f"{label}, as a power of ten" if knob.log else label,
        info=knob.help,
    )


def picture(label: str) -> gr.Image:
    """An input that hands over the file as it came: reading it, and refusing it, is the engine's.

    Never send it a gr.update: Gradio would then build it anew for that visitor, with its own reading.
    """
    image = gr.Image(label=label, sources=["upload", "clipboard"], height=240, elem_id=label.lower())
    image.preprocess = lambda payload: payload and payload.path  # type: ignore
    return image


def examples() -> list[list[str]]:
    """Photo, painting and what the default preset makes of them, for each pair of examples/pairs.csv."""
    with (EXAMPLES / "pairs.csv").open() as file:
        return [
            [
                str(EXAMPLES / "content" / f"{pair['photo']}.jpg"),
                str(EXAMPLES / "style" / f"{pair['painting']}.webp"),
                str(EXAMPLES / "results" / f"{pair['photo']}--{pair['painting']}.jpg"),
            ]
            for pair in csv.DictReader(file)
        ]


def build(download: backbones.Vgg19Download | None = None) -> gr.Blocks:
    """The page; `download` is the one whose state it shows."""
    with gr.Blocks(title="Photo to painting", delete_cache=(3600, 86400)) as page:
        job = gr.State(Job)
        gr.Markdown("# Photo to painting\nChoose a photo and a painting, press **Paint**, and watch.")
        with gr.Row():
            with gr.Column(scale=5):
                with gr.Row():
                    photo, painting = picture("Photo"), picture("Painting")
                with gr.Row():
                    start = gr.Button("Paint", variant="primary", elem_id="paint")
                    stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
                preset = gr.Dropdown(list(PRESETS), value=next(iter(PRESETS)), label="Preset", filterable=False)
                with gr.Accordion("Settings", open=False):
                    sliders = [slider(name) for name in TURNED]
            with gr.Column(scale=6):
                view = gr.Image(
                    label="Result",
                    format="jpeg",
                    interactive=False,
                    height=440,
                    buttons=["fullscreen"],
                    elem_id="result",
                )
                told = gr.Markdown("Nothing painted yet.", elem_id="status")
                file = gr.DownloadButton("Download PNG", elem_id="download")
                plot = gr.Plot(label="Loss by iteration", show_label=False, elem_id="curves")
        pairs = gr.Dataset(
            label="Examples: press one",
            components=[gr.Image(visible=False) for _ in range(3)],
            headers=["Photo", "Painting", "Result"],
            samples=examples(),
            type="index",
            elem_id="examples",
        )
        if download:
            gr.Markdown(lambda: download.status, every=2.0, elem_id="backbone")

        started = start.click(begin, job, [start, stop, told], queue=False, api_visibility="private")
        run = started.then(
            paint,
            [job, photo, painting, preset, *sliders],
            [view, told, plot, file],
            api_name="stylize",
            concurrency_limit=1,
            show_progress="hidden",
        )
        run.success(end, job, [start, stop], queue=False, api_visibility="private")
        run.failure(fail, job, [start, stop, told], queue=False, api_visibility="private")
        stop.click(lambda job: job.stopped.set(), job, queue=False, api_visibility="private")
        pairs.click(
            fill,
            [job, pairs],
            [photo, painting, preset, *sliders, view, told, plot, file],
            queue=False,
            api_visibility="private",
        )
        preset.input(turn_to, preset, sliders, queue=False, api_visibility="private")
    return page


def begin(job: Job) -> tuple[Any, Any, str]:
    """Paint was pressed: until a place is free, the page says so."""
    job.stopped.clear()
    job.running = True
    return gr.update(interactive=False), gr.update(interactive=True), "Waiting for a free place …"


def end(job: Job) -> tuple[Any, Any]:
    """The run is over."""
    job.running = False
    return gr.update(interactive=True), gr.update(interactive=False)


def fail(job: Job) -> tuple[Any, Any, str]:
    """The run could not begin, and a message on the page has said why."""
    return *end(job), "Nothing was painted this time."


def fill(job: Job, index: int) -> tuple[Any, ...]:
    """An example was pressed: its pictures, the settings it was painted with and, unless a run is on, its result."""
    photo, painting, result = examples()[index]
    preset = next(iter(PRESETS))
    shown = (result, "This is what the pair gives. Press **Paint** to see it form.", None, None)
    return photo, painting, preset, *turn_to(preset), *([gr.skip()] * 4 if job.running else shown)


def turn_to(preset: str) -> list[float]:
    """The positions of the sliders for a preset."""
    return [knobs()[name].position(getattr(PRESETS[preset], name)) for name in TURNED]


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page; `options` are those of Gradio's launch."""
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page.queue(max_size=8).launch(max_file_size="20mb", allowed_paths=[str(EXAMPLES)], theme=theme, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the page on which a photo becomes a painting.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also print a public link")
    parser.add_argument("--weights", metavar="FILE", help="paint with the VGG-19 in this .pth or .safetensors file")
    options = parser.parse_args()
    if options.weights and not Path(options.weights).is_file():
        parser.error(f"there is no file {options.weights}: name a VGG-19 in .pth or .safetensors form")
    if options.weights:
        os.environ["STYLETRANSFER_VGG19"] = options.weights
    download = None
    if weights.cached_vgg19() is None:
        download = backbones.Vgg19Download()
        download.start()
    launch(build(download), server_name=options.host, server_port=options.port, share=options.share)


if __name__ == "__main__":
    main()
