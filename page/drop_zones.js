// Gradio's drop zones refuse a file by the type that the system gives it, and empty themselves before they know. So
// each file that is chosen in a drop zone, or dropped on it, goes to the upload that belongs to it (see drop_zones.py).
(accepted) => {
  const limit = () => window.gradio_config?.max_file_size ?? Infinity;  // bytes
  const tooLarge = () => `More than ${limit() >> 20} MB: choose a smaller file.`;
  const zoneOf = (event) => event.target instanceof Element && event.target.closest(".block.drop-zone");

  const say = (zone, sentence, isError) => {
    zone.querySelector(".zone-note")?.remove();
    if (!sentence) return;
    const note = Object.assign(document.createElement("p"), { className: "zone-note", textContent: sentence });
    note.setAttribute("role", isError ? "alert" : "status");
    zone.append(note);
  };

  // The zones of files on their way, which are told apart by this key in the request that carries them. A phone may call
  // all of them image.jpg. Of equal ones, the first to come is the first to be sent.
  const keyOf = (file) => [file.name, file.size, file.lastModified].join("/");
  const onTheirWay = new Map();
  const fetchFromServer = window.fetch;
  // Several photos that are chosen at once: each in a request of its own, since the server limits a request.
  const sendEach = async (resource, options, files) => {
    const paths = [], photo = document.getElementById("photo");
    say(photo);
    for (const file of files) {
      const body = new FormData();
      body.append("files", file);
      const response = await fetchFromServer(resource, { ...options, body });
      if (response.ok) paths.push(...await response.json());
      else say(photo, `${file.name}: ${response.status === 413 ? tooLarge() : await response.text()}`, true);
    }
    return Response.json(paths);
  };
  window.fetch = async (resource, options) => {
    const files = options?.body instanceof FormData ? options.body.getAll("files") : [];
    if (files.length > 1) return sendEach(resource, options, files);
    const zones = files.map((file) => onTheirWay.get(keyOf(file))?.shift()).filter(Boolean);
    if (!zones.length) return fetchFromServer(resource, options);
    let sentence = "";
    try {
      const response = await fetchFromServer(resource, options);
      if (!response.ok) sentence = response.status === 413 ? tooLarge() : await response.clone().text();
      return response;
    } catch (error) {
      sentence = "The file did not reach the server: choose it again when you are connected.";
      throw error;
    } finally {
      zones.forEach((zone) => say(zone, sentence, true));
    }
  };

  const takeFile = (event, files, zone = zoneOf(event)) => {
    if (!zone || !files?.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    // Gradio has seen the file come, and must see it go.
    zone.querySelector("[aria-dropeffect]")?.dispatchEvent(new DragEvent("dragleave"));
    const [file] = files, first = new DataTransfer();
    first.items.add(file);
    if (event.type === "change") event.target.value = "";  // so that the same file can be chosen once more
    if (file.size > limit()) return say(zone, tooLarge(), true);
    onTheirWay.set(keyOf(file), [...(onTheirWay.get(keyOf(file)) ?? []), zone]);
    say(zone, `${file.name} is on its way …`);
    window.visit.opened.then(() => giveToUpload(`${zone.id}-upload`, first.files));
  };

  // A file may come while Gradio is still building the page: the drop zone is there before its upload.
  const giveToUpload = (id, files) => {
    const input = document.getElementById(id)?.previousElementSibling;
    if (!input) return setTimeout(giveToUpload, 50, id, files);
    input.files = files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  // All listeners capture, to come before Gradio's.
  document.addEventListener("drop", (event) => takeFile(event, event.dataTransfer?.files), true);
  document.addEventListener("change", (event) => takeFile(event, event.target.files), true);
  document.addEventListener("paste", (event) => {
    takeFile(event, event.clipboardData?.files, zoneOf(event) || document.querySelector("#photo"));
  }, true);
  document.addEventListener("click", (event) => {
    const input = zoneOf(event) && zoneOf(event).querySelector("input[type=file]");
    if (input) input.accept = accepted;  // many systems do not count HEIC and TIFF as image/*, and would grey them out
  }, true);

  // To a screen reader, Gradio gives all of them one name.
  const nameUploads = () => document.querySelectorAll(".drop-zone button.upload-container").forEach((button) => {
    button.setAttribute("aria-label", button.textContent.trim());
  });
  new MutationObserver(nameUploads).observe(document, { childList: true, subtree: true });
}
