"""All components of the page, and which handler each event calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from styletransfer.settings import PRESETS

from .config import ServerConfig
from .controls import CONTROLS, LIVE_CONTROLS, START_CONTROLS, control
from .drop_zones import GIVE_FILES_TO_UPLOADS, drop_zone, upload_of
from .examples import EXAMPLES, example_gallery, random_pair, style_gallery
from .handlers import Components, Handlers
from .session import Session
from .share_link import PARAMETERS
from .status import status_html
from .weights_download import Vgg19Download
from .worker import ZERO_GPU

FOLDER = Path(__file__).parent
THEME = gr.themes.Soft(
    primary_hue=gr.themes.colors.indigo,
    secondary_hue=gr.themes.colors.amber,
    neutral_hue=gr.themes.colors.stone,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(  # the colour of paper, and darker text than Soft's for contrast
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

LOOK: dict[str, Any] = {
    "theme": THEME,
    "css_paths": [FOLDER / "page.css"],
    "head": f"<script>{(FOLDER / 'page.js').read_text(encoding='utf-8')}</script>",
}
"""What `launch` needs to know of the page."""

SCROLL_TO_OUTCOME = """() => setTimeout(() => document.getElementById("outcome")?.scrollIntoView({
    behavior: "smooth", block: window.innerWidth < 640 ? "start" : "nearest"}), 100)"""
SCROLL_TO_NOTICE = """() => document.getElementById("notice")?.scrollIntoView({block: "nearest"})"""
# The host may add query parameters of its own, so this tests for the page's.
READ_TAB = f"""session => [session, visit.token(),
    /[?&]({"|".join(PARAMETERS)})=/.test(location.search) ? location.search.slice(1) : "",
    performance.getEntriesByType("navigation")[0]?.type !== "navigate"]"""
ADD_ADDRESS = "query => location.origin + location.pathname + '?' + query"


def build(config: ServerConfig, download: Vgg19Download | None = None) -> gr.Blocks:
    """Build the page; it shows the status of `download` if there is one."""
    gr.set_static_paths(EXAMPLES)  # they are sent from where they are, and not from copies that could be deleted
    with gr.Blocks(title="Photo to painting", delete_cache=(3600, 86400)) as page:
        components = create_components(config)
        connect_events(page, components, Handlers(components, config))
        if download:
            status = gr.Markdown(download.status, elem_id="backbone")
            timer = gr.Timer(2)
            # A page that asks for ever would notice that the network is gone for a moment, and load itself again.
            timer.tick(
                lambda: (download.status, gr.Timer(active=not download.is_over)),
                None,
                [status, timer],
                show_progress="hidden",
                queue=False,
                api_visibility="private",
            )
    return page


def create_components(config: ServerConfig) -> Components:
    """Create the components, from the top of the page to its bottom."""
    session = gr.State(Session())
    hidden: dict[str, Any] = {"visible": "hidden", "container": False}
    token, is_reload = gr.Textbox(label="Token", **hidden), gr.Checkbox(label="Reload", **hidden)
    link_query, returned = gr.Textbox(label="Query of the link", **hidden), gr.Textbox(label="Returned", **hidden)
    gr.Markdown(
        "# Photo to painting\nPress an example, or choose a photo and a painting; then press **Paint** and watch.",
        elem_id="title",
    )
    example_pairs = example_gallery()
    with gr.Row(elem_id="desk"):
        with gr.Column(scale=5, elem_id="left"):
            with gr.Column(elem_id="choose"):
                with gr.Row():
                    photo, painting = drop_zone("Photo", webcam=True), drop_zone("Painting")
                uploads = {zone: upload_of(zone) for zone in (photo, painting)}
                notice = gr.Markdown(visible=False, elem_id="notice")
                start = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
            with gr.Accordion("Styles", open=False):
                styles = style_gallery()
                surprise = gr.Button("Surprise me", size="sm")
            with gr.Accordion("Adjust (also while painting)", open=False):
                live_controls = {name: control(name, PRESETS[config.preset]) for name in LIVE_CONTROLS}
                preview = gr.Image(
                    alt_text="The picture in roughly these colours",
                    label="Preview of the colours",
                    format="jpeg",
                    interactive=False,
                    height=220,
                    buttons=[],
                    elem_id="preview",
                )
            with gr.Accordion("Before you start", open=False):
                preset = gr.Dropdown(list(PRESETS), value=config.preset, label="Preset", filterable=False)
                start_controls = {name: control(name, PRESETS[config.preset]) for name in START_CONTROLS}
                second_painting = drop_zone("Second painting")
                uploads[second_painting] = upload_of(second_painting)
        with gr.Column(scale=5, visible=False, elem_id="outcome") as outcome:
            result = gr.Image(
                alt_text="The picture as it is being painted",
                label="Result",
                format="jpeg",
                interactive=False,
                height=420,
                buttons=["fullscreen"],
                elem_id="result",
            )
            status = gr.HTML(status_html("Nothing painted yet."), elem_id="status")
            with gr.Row():
                pause = gr.Button("Pause", min_width=80, interactive=False, elem_id="pause", visible=not ZERO_GPU)
                stop = gr.Button("Stop", min_width=80, variant="stop", interactive=False, elem_id="stop")
                more = gr.Button("More", min_width=80, interactive=False, elem_id="more")
            with gr.Row():
                download = gr.DownloadButton("Save PNG", min_width=80, interactive=False, elem_id="download")
                time_lapse = gr.DownloadButton("Time-lapse", min_width=80, interactive=False, elem_id="lapse")
            plot = gr.Plot(label="Loss by step", show_label=False, elem_id="curves")
            with gr.Accordion("Before and after", open=False):
                compare = gr.ImageSlider(label="Before and after", interactive=False, format="jpeg", elem_id="compare")
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
    finished_picture = gr.Image(visible=False, format="png", label="Finished picture")
    return Components(
        session=session,
        token=token,
        is_reload=is_reload,
        link_query=link_query,
        returned=returned,
        examples=example_pairs,
        photo=photo,
        painting=painting,
        second_painting=second_painting,
        uploads=uploads,
        notice=notice,
        start=start,
        styles=styles,
        surprise=surprise,
        preset=preset,
        controls={name: {**start_controls, **live_controls}[name] for name in CONTROLS},
        preview=preview,
        outcome=outcome,
        result=result,
        status=status,
        pause=pause,
        stop=stop,
        more=more,
        download=download,
        time_lapse=time_lapse,
        plot=plot,
        compare=compare,
        history=history,
        link=link,
        share=share,
        finished_picture=finished_picture,
    )


def connect_events(page: gr.Blocks, c: Components, handlers: Handlers) -> None:
    """Say which handler each event calls, with which inputs, and which components it may change."""
    sliders = list(c.controls.values())
    settings = [c.preset, *sliders]
    inputs = [c.session, c.photo, c.painting, *settings, c.second_painting]
    buttons = [c.start, c.surprise, c.more, c.pause, c.stop]
    progress = [c.result, c.status, c.plot, c.download]  # what /stylize returns
    results = [c.download, c.time_lapse, c.compare, c.history]
    # Without progress, since Gradio would show it, and an error, on top of what the visitor sees.
    at_once: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    in_turn: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "paint"}
    # Wherever a drop zone is read: the handlers check the other inputs (see Handlers.check_ranges).
    raw: dict[str, Any] = {"preprocess": False}

    # On the status line Gradio shows the place in the queue and the seconds.
    shown: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": c.status}

    def run_after(event: Callable[..., Any], handler: Callable[..., Any], **options: Any) -> None:
        started = event(handlers.start_run, c.session, [*buttons, c.status, c.outcome], **at_once)
        started.success(None, js=SCROLL_TO_OUTCOME)
        done = started.success(handler, inputs, progress, **shown, **in_turn, **raw, **options)
        finish_after(done)

    def finish_after(done: Any) -> None:
        finished = done.success(handlers.finish_run, c.session, buttons, **at_once)
        finished.then(handlers.show_results, c.session, results, **at_once)
        done.failure(handlers.fail_run, c.session, [*buttons, c.status, c.outcome], **at_once)

    run_after(c.start.click, handlers.stylize, api_name="stylize")
    run_after(c.more.click, handlers.continue_painting, api_visibility="private")
    surprised = c.surprise.click(random_pair, None, [c.photo, c.painting], **at_once)
    run_after(surprised.then, handlers.stylize, api_visibility="private")
    gr.on(
        [],
        handlers.paint,
        [c.photo, c.painting, c.preset],
        c.finished_picture,
        api_name="paint",
        **in_turn,
        **raw,
    )

    c.stop.click(handlers.stop_run, c.session, **at_once)
    c.pause.click(handlers.toggle_pause, c.session, c.pause, **at_once)
    steering: list[Any] = [c.session, *settings]
    for name in LIVE_CONTROLS:
        c.controls[name].input(handlers.steer, steering, trigger_mode="always_last", **raw, **at_once)
    c.examples.select(
        handlers.show_example, c.session, [c.photo, c.painting, *settings, *progress, c.outcome], **at_once
    )
    c.styles.select(handlers.choose_style, None, c.painting, **at_once)
    preset_chosen = c.preset.input(handlers.choose_preset, c.preset, sliders, **at_once)
    preset_chosen.then(handlers.steer, steering, **raw, **at_once)
    page.load(None, js=GIVE_FILES_TO_UPLOADS)
    for zone, upload in c.uploads.items():
        reading: dict[str, Any] = {**raw, **at_once, "show_progress": "full", "show_progress_on": upload}
        changed = [zone, upload, *settings, c.notice]
        taken = upload.upload(partial(handlers.take_picture, zone), upload, changed, **reading)
        taken.then(None, js=SCROLL_TO_NOTICE)
        taken.then(handlers.steer, steering, **raw, **at_once)
    for zone in (c.photo, c.painting):
        restored = zone.upload(handlers.restore_settings, zone, [*settings, c.notice], **raw, **at_once)
        restored.then(handlers.steer, steering, **raw, **at_once)
    colours = c.controls["colours"]
    for change in (colours.change, c.photo.change, c.painting.change):
        change(
            handlers.preview_colours,
            [c.session, c.photo, c.painting, colours],
            c.preview,
            **raw,
            **at_once,
        )
    c.history.select(handlers.reopen_result, c.session, [*progress, c.time_lapse, c.compare, *settings], **at_once)
    linked = c.share.click(handlers.make_link, [c.photo, c.painting, *settings], c.link, **raw, **at_once)
    linked.then(None, c.link, c.link, js=ADD_ADDRESS)
    # Only `follow_link` and `return_to_visit` may write to the inputs when the page opens. A gr.skip() that arrives
    # late would overwrite what the visitor has typed since, so each is called only if it has something to show.
    opened: list[Any] = [c.session, c.token, c.link_query, c.is_reload]
    page.load(handlers.open_visit, opened, [c.session, c.link_query, c.returned], js=READ_TAB, **at_once)
    c.link_query.change(handlers.follow_link, c.link_query, [c.photo, c.painting, *settings, c.notice], **at_once)
    shown_again = [
        *(c.photo, c.painting, c.second_painting, *settings, *buttons, c.outcome, c.result, c.status, c.plot, c.notice),
        *(c.download, c.time_lapse, c.compare, c.history),
    ]
    returned = c.returned.change(handlers.return_to_visit, c.session, shown_again, **at_once)
    watched = returned.success(
        handlers.watch_again, c.session, progress, concurrency_limit=None, api_visibility="private", **shown
    )
    finish_after(watched)
