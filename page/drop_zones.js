// Gradio's drop zones refuse a file by the type that the system gives it, and empty themselves before they know. So
// each file that is chosen in a drop zone, or dropped on it, goes to the upload that belongs to it (see drop_zones.py).
(accepted) => {
  const zoneOf = (event) => event.target instanceof Element && event.target.closest(".drop-zone");

  const findUpload = async (zone) => {
    for (;;) {  // an upload that is at work has no input
      const input = document.querySelector(`#${zone.id}-upload input[type=file]`);
      if (input) return input;
      await new Promise((wake) => setTimeout(wake, 100));
    }
  };

  const takeFile = async (event, files) => {
    const zone = zoneOf(event);
    if (!zone || !files?.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    // Gradio has seen the file come, and must see it go.
    zone.querySelector("[aria-dropeffect]")?.dispatchEvent(new DragEvent("dragleave"));
    const first = new DataTransfer();
    first.items.add(files[0]);
    if (event.type === "change") event.target.value = "";  // so that the same file can be chosen once more
    const input = await findUpload(zone);
    input.files = first.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  // All listeners capture, to come before Gradio's.
  document.addEventListener("drop", (event) => takeFile(event, event.dataTransfer?.files), true);
  document.addEventListener("change", (event) => takeFile(event, event.target.files), true);
  document.addEventListener("click", (event) => {
    const input = zoneOf(event) && zoneOf(event).querySelector("input[type=file]");
    if (input) input.accept = accepted;  // many systems do not count HEIC and TIFF as image/*, and would grey them out
  }, true);
}
