// The picture, before and after. Its value is {picture, before, alt, label}; a picture is an address, or a file.
const figure = element.querySelector(".viewer");
const [painted, before] = figure.querySelectorAll("img");
const frame = figure.querySelector(".frame");
const divider = figure.querySelector(".divider");
const caption = figure.querySelector("figcaption");
const full = figure.querySelector(".full");
const share = figure.querySelector(".share");
const address = (picture) => picture?.url ?? picture ?? "";
let part = 0;  // of the width of the picture, which shows the photo

// Where the picture lies in its frame, which has room beside it or above it; in pixels.
function findPicture() {
  const { clientWidth, clientHeight } = frame, { naturalWidth, naturalHeight } = painted;
  const scale = Math.min(clientWidth / naturalWidth, clientHeight / naturalHeight);
  const [width, height] = naturalWidth ? [naturalWidth * scale, naturalHeight * scale] : [clientWidth, clientHeight];
  return { left: (clientWidth - width) / 2, top: (clientHeight - height) / 2, width };
}

function placeDivider() {
  const { left, top, width } = findPicture(), x = part * width, half = 22;
  const shift = Math.max(0, half - x) - Math.max(0, x - width + half);  // the handle stays whole at the edges
  for (const [name, pixels] of Object.entries({ cut: left + x, top, shift })) {
    frame.style.setProperty(`--${name}`, `${pixels}px`);
  }
}
painted.addEventListener("load", placeDivider);
new ResizeObserver(placeDivider).observe(frame);

function move(to) {
  part = Math.min(1, Math.max(0, to));
  placeDivider();
  divider.setAttribute("aria-valuenow", Math.round(100 * part));
}

function draw() {
  const { picture, before: photo, alt, label, split } = props.value;
  figure.classList.toggle("empty", !picture);
  figure.classList.toggle("comparable", Boolean(photo));
  share.hidden = !props.value.is_own || !picture?.url;
  if (address(picture)) painted.src = address(picture);
  painted.alt = alt;
  caption.textContent = label;
  if (photo && before.src !== new URL(address(photo), location.href).href) before.src = address(photo);
  if (!figure.dataset.label || figure.dataset.label !== label) move(photo ? split : 0);
  figure.dataset.label = label;
  element.closest("#desk").dataset.painted = Boolean(props.value.is_own);
}

// Drag the divider, or press and hold the picture to see the photo.
let drags = false, holds;
const drag = (event) => {
  const { left, width } = findPicture();
  move((event.clientX - frame.getBoundingClientRect().left - left) / width);
};
frame.addEventListener("pointerdown", (event) => {
  if (!figure.classList.contains("comparable") || event.button) return;
  drags = event.target.closest(".divider") !== null;
  frame.setPointerCapture(event.pointerId);
  if (drags) event.preventDefault();
  else holds = setTimeout(() => frame.classList.add("held"), 150);
});
frame.addEventListener("pointermove", (event) => drags && drag(event));
const release = () => {
  drags = false;
  clearTimeout(holds);
  frame.classList.remove("held");
};
frame.addEventListener("pointerup", release);
frame.addEventListener("pointercancel", release);
// A long press on a phone would open a menu on top of the photo.
frame.addEventListener("contextmenu", (event) => event.pointerType === "touch" && figure.matches(".comparable") && event.preventDefault());
divider.addEventListener("keydown", ({ key }) => {
  const step = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 }[key];
  if (step) move(part + step);
});

// A frame may be refused the whole screen, and phones of Apple have it for films only: then it fills the window.
function fill(on) {
  figure.classList.toggle("whole", on);
  full.textContent = on ? "Close" : "Full screen";
  if (on) figure.requestFullscreen?.().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
}
full.addEventListener("click", () => fill(!figure.matches(".whole")));
document.addEventListener("fullscreenchange", () => document.fullscreenElement || fill(false));
document.addEventListener("keydown", ({ key }) => key === "Escape" && figure.matches(".whole") && fill(false));

// The picture itself, through the share sheet of a phone, or else as a copy.
share.addEventListener("click", async () => {
  const { url } = props.value.picture;
  const response = await fetch(url).catch(() => ({ ok: false }));
  if (!response.ok) {
    caption.textContent = "The picture did not come from the server: try again, or save it with a long press.";
    return;
  }
  const blob = await response.blob();
  const file = new File([blob], decodeURIComponent(url.split("/").pop()), { type: blob.type });
  try {
    if (navigator.canShare?.({ files: [file] })) {
      await navigator.share({ files: [file], title: document.title });
    } else {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": toPng(blob) })]);
      caption.textContent = "The picture is copied: paste it into a message.";
    }
  } catch (error) {
    if (error.name === "AbortError") return;  // the visitor closed the sheet
    caption.textContent = "This browser lets no page share or copy a picture: save it, and send the file.";
  }
});

async function toPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

draw();
watch("value", draw);
