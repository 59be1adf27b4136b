"""All components of the page, and which handler each event calls."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from styletransfer.settings import LIKENESS, PRESETS

from .config import ServerConfig
from .controls import CONTROLS, control, name_likeness
from .drop_zones import ACCEPTED, ENDINGS, GIVE_FILES_TO_UPLOADS, drop_zone, upload_of
from .examples import EXAMPLES, FIRST_EXAMPLE, example_tiles, examples, sample_tiles, style_tiles
from .handlers import RESTARTED, Components, Handlers
from .link_preview import DESCRIPTION, TITLE
from .paintings import build_strip
from .photo_editor import build_photo_editor, connect_photo_editor
from .session import Session
from .share_link import PARAMETERS
from .status import NOTHING_PAINTED
from .tiles import MARK_FILE, TAKE_FILE, TAKE_FILES, build_tiles
from .viewer import build_viewer, show_example
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
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_border_width="0px",
    block_title_background_fill="transparent",
    block_title_padding="0px",
    block_label_text_color="*primary_700",
    block_title_text_color="*primary_700",
    block_label_text_color_dark="*primary_300",
    block_title_text_color_dark="*primary_300",
    body_text_color_subdued="*neutral_600",
    checkbox_label_background_fill_selected="*primary_700",
)

HEADING = f"""<h1>{TITLE}</h1>
<p>{DESCRIPTION}
<small>Nobody else sees it, and it is deleted from this server within a day.</small></p>"""
LABORATORY = """<h2>For the curious: how it is done</h2>
<p>A network that has learned to recognise pictures compares. The painting keeps the content of your photo (α) and takes
the style of the painting (β), without noise (γ). The curves show each part of that loss fall, step by step.</p>"""
SECOND_PART = "<p>It is mixed in, or paints the part of your photo that you mark for it.</p>"

LOOK: dict[str, Any] = {
    "theme": THEME,
    "css_paths": [FOLDER / "page.css"],
    "head": (
        f"<script>var RESTARTED = {json.dumps(RESTARTED)};\n{(FOLDER / 'page.js').read_text('utf-8')}\n"
        f"{GIVE_FILES_TO_UPLOADS}</script>"
    ),
}
"""What `launch` needs to know of the page."""

SCROLL_TO = """() => setTimeout(() => {{
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    document.getElementById({})?.scrollIntoView({{ behavior, block: "start" }});
}}, 100)"""
OPEN = "() => visit.open()"  # see page.js
SAVE_ZIP = "() => setTimeout(() => document.querySelector('#zip-file').click(), 100)"
SCROLL_TO_PICTURE = SCROLL_TO.format('innerWidth > 840 ? "desk" : "picture"')
SCROLL_TO_WALL = SCROLL_TO.format('"wall-part"')
# The host may add query parameters of its own, so this tests for the page's.
READ_TAB = f"""session => [session, visit.token(),
    /[?&]({"|".join(PARAMETERS)})=/.test(location.search) ? location.search.slice(1) : "",
    performance.getEntriesByType("navigation")[0]?.type !== "navigate"]"""
GIVE_ADDRESS = "(session, link, ...inputs) => [session, location.origin + location.pathname, ...inputs]"
# A link that nobody has asked for is not made, and costs no request.
ASK_FOR_NEXT_LINK = "(link, turn) => link ? turn + 1 : turn"


def build(config: ServerConfig, download: Vgg19Download | None = None) -> gr.Blocks:
    """Build the page; it shows the status of `download` if there is one."""
    gr.set_static_paths(EXAMPLES)  # they are sent from where they are, and not from copies that could be deleted
    with gr.Blocks(title=TITLE, delete_cache=(3600, 86400)) as page:
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
    go = gr.Textbox(label="Go", **hidden)
    preset_settings = config.limit_size(PRESETS[config.preset])
    controls: dict[str, Any] = {}

    def add_controls(*names: str) -> None:
        controls.update({name: control(name, preset_settings, config) for name in names})

    gr.HTML(HEADING, elem_id="title", apply_default_css=False)
    with gr.Row(elem_id="desk"):
        with gr.Column(scale=4, min_width=320, elem_id="left"):
            with gr.Column(elem_id="choose-photo", elem_classes="part"):
                gr.HTML("<h2><span>1. </span>Your photo</h2>", apply_default_css=False)
                with gr.Row(elem_id="photo-row"):
                    with gr.Column(min_width=0, elem_id="photo-box"):
                        photo = drop_zone("Photo", webcam=True)
                        photo_notice = gr.Markdown(visible=False, elem_id="photo-notice", elem_classes="notice")
                    photo_editor = build_photo_editor(session, photo, photo_notice, preset_settings, config)
                controls["faces"] = photo_editor.faces
                samples = build_tiles(sample_tiles(), label="Sample photos", elem_id="samples")
            with gr.Column(elem_id="choose-style", elem_classes="part"):
                gr.HTML("<h2><span>2. </span>A style</h2>", apply_default_css=False)
                painting = drop_zone("Painting", visible="hidden")
                uploads = {photo: upload_of("photo"), painting: upload_of("styles")}
                style_row = build_tiles(
                    style_tiles(),
                    label="Styles",
                    elem_id="styles",
                    elem_classes="drop-zone",
                    accept=ACCEPTED,
                )
                painting_notice = gr.Markdown(visible=False, elem_id="painting-notice", elem_classes="notice")
                with gr.Row():
                    try_styles = gr.Button("Try all styles", size="sm", min_width=120, elem_id="try-styles")
                    several_photos = gr.UploadButton(
                        "Paint several photos",
                        file_count="multiple",
                        file_types=["image", *ENDINGS],
                        size="sm",
                        min_width=120,
                        elem_id="several-photos",
                    )
                    second_toggle = gr.Button("A second painting", size="sm", min_width=120, elem_id="second-toggle")
                with gr.Column(elem_id="second-part"):
                    gr.HTML(SECOND_PART, apply_default_css=False)
                    second_notice = gr.Markdown(visible=False, elem_id="second-painting-notice", elem_classes="notice")
                    second_painting = drop_zone("Second painting")
                    uploads[second_painting] = upload_of("second-painting")
                    second_styles = build_tiles(style_tiles()[:-1], label="Second painting", elem_id="second-styles")
                    add_controls("mix")
            with gr.Column(elem_id="paint-bar"):
                with gr.Row(visible=False, elem_id="offer") as offer:
                    offer_text = gr.Markdown()
                    paint_next = gr.Button("Paint it next", size="sm", min_width=80, elem_id="paint-next")
                    paint_now = gr.Button("Paint it now", size="sm", min_width=80, elem_id="paint-now")
                    cancel_next = gr.Button("Cancel", size="sm", min_width=80, visible=False, elem_id="cancel-next")
                with gr.Row(visible=False, elem_id="second-line") as second_line:
                    second_text = gr.HTML(apply_default_css=False, elem_id="second-text")
                    remove_second = gr.Button("Remove", size="sm", min_width=80, scale=0, elem_id="remove-second")
                with gr.Row():
                    start = gr.Button("Paint", variant="primary", size="lg", scale=3, min_width=120, elem_id="paint")
                    surprise = gr.Button("Surprise me", size="lg", scale=2, min_width=100, elem_id="surprise")
        with gr.Column(scale=6, min_width=320, elem_id="outcome"):
            with gr.Row(elem_id="stage"):
                with gr.Column(scale=5, min_width=300, elem_id="picture"):
                    viewer = build_viewer(show_example(examples()[FIRST_EXAMPLE]))
                    status = gr.HTML(NOTHING_PAINTED, elem_id="status")
                    with gr.Row(elem_id="run-buttons"):
                        pause = gr.Button(
                            "Pause", min_width=70, interactive=False, elem_id="pause", visible=not ZERO_GPU
                        )
                        stop = gr.Button("Stop", min_width=70, variant="stop", interactive=False, elem_id="stop")
                        more = gr.Button("More steps", min_width=70, interactive=False, elem_id="more")
                    with gr.Row(elem_id="save-buttons"):
                        save_jpeg = gr.DownloadButton("Save JPEG", min_width=70, interactive=False, elem_id="save-jpeg")
                        download = gr.DownloadButton("Save PNG", min_width=70, interactive=False, elem_id="download")
                        save_film = gr.DownloadButton("Save film", min_width=70, interactive=False, elem_id="save-film")
                    enlarge = gr.Button("Large for printing", interactive=False, size="sm", elem_id="enlarge")
                with gr.Column(scale=3, min_width=200, elem_id="steer"):
                    likeness = gr.Radio(
                        [(name.capitalize(), name) for name in LIKENESS],
                        value=name_likeness(preset_settings.content_weight),
                        label="Likeness",
                        info="Works while it paints. Afterwards, press Paint again.",
                        elem_id="likeness",
                    )
                    add_controls("stroke", "colours")
                    preview = gr.Image(
                        alt_text="The picture in roughly these colours",
                        label="Preview of the colours",
                        format="jpeg",
                        interactive=False,
                        height=165,
                        buttons=[],
                        elem_id="preview",
                    )
            example_row = build_tiles(example_tiles(), label="Examples: a photo and its painting", elem_id="examples")
            strip = build_strip()
            save_all = gr.Button("Save all as ZIP", size="sm", visible=False, elem_id="save-all")
            zip_file = gr.DownloadButton("ZIP", visible="hidden", elem_id="zip-file")
            with gr.Row(elem_id="link-row"):
                share = gr.Button("Make a link", size="sm", elem_id="share", scale=0)
                link = gr.Textbox(
                    label="A link to these settings", interactive=False, buttons=["copy"], visible=False, elem_id="link"
                )
            link_note = gr.Markdown(visible=False, elem_id="link-note")
    link_turn = gr.Number(0, label="Turn of the link", **hidden)
    with gr.Column(visible=False, elem_id="wall-part", elem_classes="part") as wall_part:
        with gr.Row(elem_id="wall-head"):
            gr.HTML("<h2>Your photo in every style</h2>", apply_default_css=False)
            stop_sketches = gr.Button("Stop", size="sm", variant="stop", min_width=80, scale=0, elem_id="stop-sketches")
        wall_text = gr.HTML(elem_id="wall-text")
        wall = build_tiles([], label="Sketches", elem_id="wall")
    with gr.Column(visible=False, elem_id="film-part", elem_classes="part") as film_part:
        gr.HTML("<h2>Film</h2>", apply_default_css=False)
        film = gr.Video(label="Film", show_label=False, interactive=False, buttons=[], elem_id="film")
        save_webp = gr.DownloadButton("Save as WebP", size="sm", interactive=False, elem_id="save-webp")
    with gr.Column(elem_id="laboratory", elem_classes="part"):
        gr.HTML(LABORATORY, apply_default_css=False)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                plot = gr.Plot(label="Loss by step", show_label=False, elem_id="curves")
            with gr.Column(scale=5, min_width=320):
                preset = gr.Dropdown(list(PRESETS), value=config.preset, label="Preset", filterable=False)
                add_controls("content_weight", "style_weight", "tv_weight", "objective", "size", "iterations")
    named_likeness = gr.Radio(list(LIKENESS), label="Likeness", visible=False)
    finished_picture = gr.Image(visible=False, format="png", label="Finished picture")
    result = gr.Image(visible=False, format="jpeg", label="Result")
    return Components(
        session=session,
        token=token,
        is_reload=is_reload,
        link_query=link_query,
        returned=returned,
        go=go,
        examples=example_row,
        samples=samples,
        photo=photo,
        painting=painting,
        second_painting=second_painting,
        second_styles=second_styles,
        second_toggle=second_toggle,
        several_photos=several_photos,
        save_all=save_all,
        zip_file=zip_file,
        try_styles=try_styles,
        wall_part=wall_part,
        stop_sketches=stop_sketches,
        wall_text=wall_text,
        wall=wall,
        uploads=uploads,
        notices={photo: photo_notice, painting: painting_notice, second_painting: second_notice},
        start=start,
        styles=style_row,
        offer=offer,
        offer_text=offer_text,
        paint_next=paint_next,
        paint_now=paint_now,
        cancel_next=cancel_next,
        second_line=second_line,
        second_text=second_text,
        remove_second=remove_second,
        likeness=likeness,
        surprise=surprise,
        preset=preset,
        controls={name: controls[name] for name in CONTROLS},
        preview=preview,
        viewer=viewer,
        result=result,
        status=status,
        pause=pause,
        stop=stop,
        more=more,
        enlarge=enlarge,
        save_jpeg=save_jpeg,
        download=download,
        save_film=save_film,
        plot=plot,
        film_part=film_part,
        film=film,
        save_webp=save_webp,
        strip=strip,
        link=link,
        link_note=link_note,
        link_turn=link_turn,
        share=share,
        named_likeness=named_likeness,
        keep=photo_editor.keep,
        region=photo_editor.region,
        photo_editor=photo_editor,
        finished_picture=finished_picture,
    )


def connect_events(page: gr.Blocks, c: Components, handlers: Handlers) -> None:
    """Say which handler each event calls, with which inputs, and which components it may change."""
    sliders = list(c.controls.values())
    settings = [c.preset, *sliders]
    inputs = [c.session, c.photo, c.painting, *settings, c.second_painting]
    to_paint = [*inputs, c.named_likeness, c.keep, c.region]
    offer = [c.offer, c.offer_text, c.paint_next, c.paint_now, c.cancel_next]
    buttons = [c.start, c.surprise, c.more, c.enlarge, c.pause, c.stop, *offer, c.try_styles, c.several_photos]
    buttons += [c.save_jpeg, c.download, c.save_film]
    progress = [c.viewer, c.status, c.plot]
    files = [c.download, c.save_jpeg, c.save_film, c.save_webp, c.film_part, c.film]
    results = [*files, c.viewer, c.strip, c.save_all]
    notices = list(c.notices.values())
    # Without progress, since Gradio would show it, and an error, on top of what the visitor sees.
    at_once: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    # Gradio lets all of them begin at once; the runs wait for each other in page/queue.py.
    watching: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
    # Wherever a drop zone is read: the handlers check the other inputs (see Handlers.check_ranges).
    raw: dict[str, Any] = {"preprocess": False}

    # Whatever begins a run checks what it needs, says what is missing, and otherwise changes `go`.
    starting = [*buttons, c.status, c.go, *notices]
    chosen = [c.photo, c.painting, c.second_painting]
    masks = [c.keep, c.region]
    c.start.click(handlers.start_run, [c.session, *chosen], starting, **raw, **at_once)
    c.surprise.click(handlers.surprise, [c.session, *chosen], [*starting, c.photo, c.painting], **raw, **at_once)
    c.styles.select(None, c.styles, c.painting, js=TAKE_FILE)
    c.styles.select(handlers.choose_style, [c.session, *chosen], starting, **raw, **at_once)
    c.several_photos.upload(
        handlers.paint_photos, [c.session, c.several_photos, c.painting], [*starting, c.photo], **raw, **at_once
    )
    packed = c.save_all.click(handlers.pack_results, c.session, c.zip_file, **at_once)
    packed.success(None, js=SAVE_ZIP)
    c.paint_next.click(handlers.paint_next, [c.session, *chosen], starting, **raw, **at_once)
    c.paint_now.click(handlers.paint_now, c.session, offer, **at_once)
    c.cancel_next.click(handlers.cancel_next, c.session, [*offer, c.painting], **at_once)
    c.go.change(None, js=SCROLL_TO_PICTURE)
    done = c.go.change(handlers.paint_on_page, to_paint, progress, api_visibility="private", **watching, **raw)

    def finish_after(done: Any) -> None:
        over = [*buttons, c.status, c.go, c.photo, c.notices[c.photo]]
        finished = done.success(handlers.finish_run, c.session, over, **at_once)
        failed = done.failure(handlers.fail_run, c.session, over, **at_once)
        for event in (finished, failed):
            event.then(handlers.show_results, c.session, results, **at_once)

    finish_after(done)
    continued = c.more.click(handlers.start_more, c.session, starting, **at_once)
    more = continued.success(handlers.continue_on_page, inputs, progress, api_visibility="private", **watching, **raw)
    finish_after(more)
    enlarging = c.enlarge.click(handlers.start_more, c.session, starting, **at_once)
    larger = enlarging.success(handlers.enlarge_on_page, c.session, progress, api_visibility="private", **watching)
    finish_after(larger)
    # For programs.
    for_programs = [c.result, *progress[1:], c.download]
    gr.on([], handlers.stylize, to_paint, for_programs, api_name="stylize", **watching, **raw)
    gr.on(
        [],
        handlers.paint,
        [c.photo, c.painting, c.preset, c.named_likeness, c.keep, c.region, c.second_painting],
        c.finished_picture,
        api_name="paint",
        **watching,
        **raw,
    )

    sketching = [c.wall_part, c.wall_text, c.wall, c.try_styles, c.stop_sketches]
    tried = c.try_styles.click(
        handlers.try_styles,
        [c.session, c.photo, c.keep, *settings, c.second_painting, c.region],
        [*sketching, c.notices[c.photo], c.notices[c.second_painting]],
        **raw,
        **at_once,
    )
    tried.success(handlers.watch_sketches, c.session, sketching, api_visibility="private", **watching)
    tried.then(None, js=SCROLL_TO_WALL)
    c.stop_sketches.click(handlers.stop_sketches, c.session, **at_once)
    c.wall.select(
        handlers.choose_sketch,
        [c.session, c.photo, c.second_painting],
        [*starting, c.photo, c.painting, *masks],
        **raw,
        **at_once,
    )

    c.stop.click(handlers.stop_run, c.session, **at_once)
    c.pause.click(handlers.toggle_pause, c.session, c.pause, **at_once)
    steering: list[Any] = [c.session, *settings]
    for name in CONTROLS:  # a run takes over what it can; all of them are remembered for a reload
        c.controls[name].input(handlers.steer, steering, trigger_mode="always_last", **raw, **at_once)
    α = c.controls["content_weight"]
    turned = c.likeness.input(handlers.turn_likeness, c.likeness, α, **at_once)
    turned.then(handlers.steer, steering, **raw, **at_once)
    α.change(name_likeness, α, c.likeness, **at_once)
    c.samples.select(None, c.samples, c.photo, js=TAKE_FILE)
    c.photo.change(None, [c.photo, c.samples], c.samples, js=MARK_FILE)
    c.samples.select(partial(handlers.clear_notice, c.photo), None, c.notices[c.photo], **at_once)
    page.load(None, js="() => visit.showSecondPart(false)")  # a screen reader is told from the start
    c.second_toggle.click(None, js="() => visit.showSecondPart()")
    c.second_styles.select(None, c.second_styles, c.second_painting, js=TAKE_FILE)
    c.second_painting.change(None, [c.second_painting, c.second_styles], c.second_styles, js=MARK_FILE)
    second_chosen = partial(handlers.clear_notice, c.second_painting)
    c.second_styles.select(second_chosen, None, c.notices[c.second_painting], **at_once)
    c.remove_second.click(
        handlers.remove_second_painting, c.session, [c.second_painting, c.notices[c.second_painting]], **at_once
    )
    gr.on(
        [c.second_painting.change, c.region.change],
        handlers.describe_second_painting,
        [c.session, c.photo, c.second_painting, c.region],
        [c.second_line, c.second_text, c.remove_second, c.controls["mix"]],
        trigger_mode="always_last",
        **raw,
        **at_once,
    )
    c.examples.select(None, c.examples, [c.photo, c.painting], js=TAKE_FILES)
    c.examples.select(handlers.show_example, c.session, [*settings, *progress, *files, c.more, c.enlarge], **at_once)
    c.painting.change(handlers.mark_style, [c.session, c.painting], c.styles, **raw, **at_once)
    gr.on(
        [c.photo.change, c.painting.change],
        handlers.renew_offer,
        [c.session, c.photo, c.painting],
        offer,
        trigger_mode="always_last",
        **raw,
        **at_once,
    )
    preset_chosen = c.preset.input(handlers.choose_preset, c.preset, sliders, **at_once)
    preset_chosen.then(handlers.steer, steering, **raw, **at_once)
    for zone, upload in c.uploads.items():
        on_zone = c.styles if zone is c.painting else zone
        reading: dict[str, Any] = {**raw, **at_once, "show_progress": "minimal", "show_progress_on": on_zone}
        changed = [zone, *settings, c.notices[zone]]
        taken = upload.upload(partial(handlers.take_picture, zone), upload, changed, **reading)
        taken.then(handlers.steer, steering, **raw, **at_once)
    restored = c.photo.upload(
        partial(handlers.restore_settings, c.photo), c.photo, [*settings, c.notices[c.photo]], **raw, **at_once
    )
    restored.then(handlers.steer, steering, **raw, **at_once)
    colours = c.controls["colours"]
    gr.on(
        [colours.change, c.photo.change, c.painting.change],
        handlers.preview_colours,
        [c.session, c.photo, c.painting, colours],
        c.preview,
        trigger_mode="always_last",
        **raw,
        **at_once,
    )
    view = [*progress, *files, c.more, c.enlarge, c.save_all]
    reopened = c.strip.select(
        handlers.reopen_painting, c.session, [*chosen, *masks, *settings, *notices, *offer, c.strip, *view], **at_once
    )
    connect_photo_editor(c.photo_editor, c.second_painting, reopened, **at_once)
    reopened.success(None, js=SCROLL_TO_PICTURE)
    c.strip.clear(handlers.forget_paintings, c.session, [*view, c.wall_part, c.try_styles], **at_once)
    linkable = [*chosen, *settings]
    of_link: dict[str, Any] = {"inputs": [c.session, c.link, *chosen, *masks, *settings], "js": GIVE_ADDRESS}
    of_link["outputs"] = [c.link, c.link_note]
    c.share.click(handlers.make_link, **of_link, **raw, **at_once)
    gr.on([part.change for part in (*linkable, *masks)], None, [c.link, c.link_turn], c.link_turn, js=ASK_FOR_NEXT_LINK)
    c.link_turn.change(handlers.renew_link, trigger_mode="always_last", **of_link, **raw, **at_once)
    # Only `follow_link` and `return_to_visit` may write to the inputs when the page opens. A gr.skip() that arrives
    # late would overwrite what the visitor has typed since, so each is called only if it has something to show.
    opened: list[Any] = [c.session, c.token, c.link_query, c.is_reload]
    found = page.load(handlers.open_visit, opened, [c.session, c.link_query, c.returned], js=READ_TAB, **at_once)
    found.then(None, [c.link_query, c.returned], js="(query, returned) => query || returned || visit.open()")
    followed = c.link_query.change(
        handlers.follow_link, [c.session, c.link_query], [*linkable, c.notices[c.photo]], **at_once
    )
    followed.then(None, js=OPEN)
    shown_again = dict.fromkeys((*linkable, *masks, *buttons, *results, c.status, c.plot, *sketching))  # each once
    returned = c.returned.change(handlers.return_to_visit, c.session, list(shown_again), **at_once)
    returned.then(None, js=OPEN)
    watched = returned.success(handlers.watch_again, c.session, progress, api_visibility="private", **watching)
    finish_after(watched)
    returned.success(handlers.watch_sketches, c.session, sketching, api_visibility="private", **watching)
