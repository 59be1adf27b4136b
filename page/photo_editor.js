// What the two editors of a photo do: a rectangle that is dragged, and two brushes. Their value is what the server sends,
// a { photo } and perhaps a { mask } and a { region } as data URLs, and then what the visitor has drawn: a { box }, or a
// { drawing } of what is kept and a { region }.
({
  crop(element, props, watch) {
    const LEAST = 0.05, STEP = 0.02;  // of the photo's sides
    const find = (name) => element.querySelector(name);
    const photo = find("img"), part = find(".part"), hole = find(".hole");
    const box = { left: 0, top: 0, right: 1, bottom: 1 };

    const show = () => {
      for (const shape of [part, hole]) {
        Object.assign(shape.style, {
          left: `${100 * box.left}%`, top: `${100 * box.top}%`,
          width: `${100 * (box.right - box.left)}%`, height: `${100 * (box.bottom - box.top)}%`,
        });
      }
    };
    const send = () => {
      props.value = { box: [box.left, box.top, box.right - box.left, box.bottom - box.top] };
    };

    // Move these edges by a fraction of the photo; all four of them move the rectangle as it is.
    const move = (edges, across, down) => {
      const whole = edges.length === 4, { left, top, right, bottom } = box;
      const limit = (value, least, most) => Math.min(Math.max(value, least), most);
      if (whole) {
        across = limit(across, -left, 1 - right);
        down = limit(down, -top, 1 - bottom);
      }
      if (edges.includes("left")) box.left = limit(left + across, 0, whole ? 1 : right - LEAST);
      if (edges.includes("right")) box.right = limit(right + across, whole ? 0 : left + LEAST, 1);
      if (edges.includes("top")) box.top = limit(top + down, 0, whole ? 1 : bottom - LEAST);
      if (edges.includes("bottom")) box.bottom = limit(bottom + down, whole ? 0 : top + LEAST, 1);
      show();
    };

    for (const handle of element.querySelectorAll("[data-edges]")) {
      const edges = handle.dataset.edges.split(" ");
      let last;
      handle.addEventListener("pointerdown", (event) => {
        event.stopPropagation();  // a corner lies on the rectangle
        handle.setPointerCapture(event.pointerId);
        last = event;
      });
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        move(edges, (event.clientX - last.clientX) / photo.clientWidth, (event.clientY - last.clientY) / photo.clientHeight);
        last = event;
      });
      handle.addEventListener("lostpointercapture", send);
      handle.addEventListener("keydown", (event) => {
        const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
        if (across === undefined || event.target !== handle) return;
        event.preventDefault();
        move(edges, STEP * across, STEP * down);
        send();
      });
    }

    const begin = () => {
      if (!props.value?.photo) return;
      photo.src = props.value.photo;
      Object.assign(box, { left: 0.1, top: 0.1, right: 0.9, bottom: 0.9 });
      show();
      send();
    };
    watch("value", begin);
    begin();
  },

  keep(element, props, watch) {
    const SIZE = 512;  // pixels of the long side, as many as the engine's masks have
    const STRIPE = 8;  // pixels: what both brushes have marked is striped
    const find = (name) => element.querySelector(name);
    const photo = find("img"), canvas = find("canvas"), cursor = find(".cursor"), size = find("input");
    const eraser = find(".eraser"), undo = find(".undo"), clear = find(".clear");
    const brushes = [...element.querySelectorAll(".brush")], tools = [...brushes, eraser];
    const context = canvas.getContext("2d");
    const makeCanvas = () => document.createElement("canvas").getContext("2d");
    // What is kept, and the region of the second painting: each is drawn on a canvas of its own, which is not shown.
    const layers = brushes.map((brush) => ({ colour: brush.dataset.colour, context: makeCanvas(), base: undefined }));
    const [kept, region] = layers, striped = makeCanvas();
    let strokes = [], at = [0.5, 0.5];
    for (const brush of brushes) brush.style.setProperty("--colour", brush.dataset.colour);

    const radius = () => size.value / 200;  // of the long side
    const fill = (on, operation, colour) => {
      on.globalCompositeOperation = operation;
      on.fillStyle = colour;
      on.fillRect(0, 0, on.canvas.width, on.canvas.height);
    };
    const show = () => {
      const { width, height } = canvas;
      striped.globalCompositeOperation = "copy";
      striped.drawImage(region.context.canvas, 0, 0);
      striped.globalCompositeOperation = "destination-out";
      striped.lineWidth = STRIPE;
      striped.beginPath();
      for (let across = -height; across < width; across += 2 * STRIPE * Math.SQRT2) {
        striped.moveTo(across, height);
        striped.lineTo(across + height, 0);
      }
      striped.stroke();
      context.clearRect(0, 0, width, height);
      for (const { canvas: layer } of [region.context, kept.context, striped]) context.drawImage(layer, 0, 0);
    };
    const drawLine = ({ layer, width }, from, to) => {
      for (const { colour, context: on } of layer ? [layer] : layers) {  // the eraser has no layer
        on.globalCompositeOperation = layer ? "source-over" : "destination-out";
        Object.assign(on, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: colour });
        on.beginPath();
        on.moveTo(from[0] * canvas.width, from[1] * canvas.height);
        on.lineTo(to[0] * canvas.width + (from === to ? 0.01 : 0), to[1] * canvas.height);  // or it has no length
        on.stroke();
      }
    };
    const redraw = () => {
      const cleared = strokes.findLastIndex((stroke) => stroke.clears);
      for (const { colour, context: on, base } of layers) {
        on.clearRect(0, 0, canvas.width, canvas.height);
        if (!base || cleared >= 0) continue;
        on.globalCompositeOperation = "source-over";
        on.drawImage(base, 0, 0, canvas.width, canvas.height);
        fill(on, "source-in", colour);
      }
      for (const stroke of strokes.slice(cleared + 1)) {
        stroke.points.forEach((point, index) => drawLine(stroke, stroke.points[index - 1] ?? point, point));
      }
      show();
    };

    // White where a layer marks the photo, on black.
    const toMask = (layer) => {
      const mask = makeCanvas();
      Object.assign(mask.canvas, { width: canvas.width, height: canvas.height });
      mask.drawImage(layer.context.canvas, 0, 0);
      fill(mask, "source-in", "white");
      fill(mask, "destination-over", "black");
      return mask.canvas.toDataURL("image/png");
    };
    const send = () => {
      undo.disabled = !strokes.length;
      props.value = { drawing: toMask(kept), region: toMask(region) };
    };

    const beginStroke = (point) => {
      const layer = layers[brushes.findIndex((brush) => brush.ariaPressed === "true")];
      strokes.push({ layer, width: 2 * radius() * SIZE, points: [point] });
      drawLine(strokes.at(-1), point, point);
      show();
    };
    const goOn = (points) => {
      const stroke = strokes.at(-1);
      for (const point of points) {
        drawLine(stroke, stroke.points.at(-1), point);
        stroke.points.push(point);
      }
      show();
    };
    const showCursor = (point) => {
      at = point;
      const width = 2 * radius() * Math.max(canvas.clientWidth, canvas.clientHeight);
      Object.assign(cursor.style, { left: `${100 * at[0]}%`, top: `${100 * at[1]}%`, width: `${width}px`, height: `${width}px` });
    };
    const placeOf = (event) => {
      const frame = canvas.getBoundingClientRect();
      return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    };

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      showCursor(placeOf(event));
      beginStroke(at);
    });
    canvas.addEventListener("pointermove", (event) => {
      showCursor(placeOf(event));
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      const events = event.getCoalescedEvents?.() ?? [];
      goOn((events.length ? events : [event]).map(placeOf));
    });
    canvas.addEventListener("lostpointercapture", send);
    canvas.addEventListener("keydown", (event) => {
      const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[event.key] ?? [];
      if (across === undefined) return;
      event.preventDefault();
      showCursor([at[0] + 0.03 * across, at[1] + 0.03 * down].map((side) => Math.min(Math.max(side, 0), 1)));
      if (event.key !== " ") return;
      beginStroke(at);
      send();
    });

    for (const tool of tools) {
      tool.addEventListener("click", () => {
        for (const other of tools) other.ariaPressed = String(other === tool);
      });
    }
    size.addEventListener("input", () => showCursor(at));
    undo.addEventListener("click", () => {
      strokes.pop();
      redraw();
      send();
    });
    clear.addEventListener("click", () => {
      strokes.push({ clears: true });
      redraw();
      send();
    });

    const load = async (address) => {
      const picture = new Image();
      picture.src = address;
      await picture.decode();
      return picture;
    };
    const begin = async () => {
      const { photo: address, ...masks } = props.value ?? {};
      if (!address) return;
      canvas.style.visibility = "hidden";
      photo.src = address;
      const given = [masks.mask, masks.region].map((mask) => mask && load(mask));
      const [whole, ...bases] = await Promise.all([load(address), ...given]);
      const scale = SIZE / Math.max(whole.width, whole.height);
      for (const each of [canvas, striped.canvas, ...layers.map((layer) => layer.context.canvas)]) {
        each.width = Math.max(1, Math.round(scale * whole.width));
        each.height = Math.max(1, Math.round(scale * whole.height));
      }
      layers.forEach((layer, index) => { layer.base = bases[index]; });
      strokes = [];
      redraw();
      send();
      canvas.style.visibility = "visible";  // what had been drawn before would be lost
    };
    watch("value", begin);
    begin();
  },
})
