// The strip "Your paintings" (see paintings.py). Records live in the browser's IndexedDB, or in this page where the
// browser refuses that. All tabs of the browser have the same ones.
(element, trigger, props, watch) => {
  const MOST = 60;
  const REFUSED = "New paintings are kept only until this page is closed: this browser does not store them.";
  const section = element.querySelector("section");
  const [list, status, choices] = ["ul", "[role=status]", ".choices"].map((part) => section.querySelector(part));
  let records = new Map(); // by id, in the order of their dates
  let database; // none: the records are in this page only
  let tabs; // a channel to the others
  let refused = "";
  let sentence = "";
  let isForgetting = false; // a press on a painting forgets it

  const finish = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

  const write = (act) => new Promise((resolve, reject) => {
    const transaction = database.transaction("paintings", "readwrite");
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error); // there is no room left, say
    act(transaction.objectStore("paintings"));
  });

  const sort = (unsorted) => {
    const sorted = [...unsorted].sort((one, other) => one.date - other.date);
    return new Map(sorted.map((record) => [record.id, record]));
  };

  async function openDatabase() {
    const request = indexedDB.open("photo-to-painting", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("paintings", { keyPath: "id" });
    database = await finish(request);
    database.onclose = () => refuse(); // the visitor has cleared the browser's data
    database.onversionchange = () => database.close();
    tabs = new BroadcastChannel("paintings");
    tabs.onmessage = ({ data: forgotten }) => forgotten ? forgetHere(forgotten.ids, forgotten.all) : readAgain();
  }

  function refuse() {
    database = undefined;
    refused = REFUSED;
    show();
  }

  /* Runs one task after the other: a record that arrives while the strip is being read must not be lost. */
  let before = openDatabase().then(read).catch(refuse).then(show);
  const inTurn = (task) => { before = before.then(task).catch(refuse).then(show); };

  async function read() {
    if (!database) return;
    records = sort(await finish(database.transaction("paintings").objectStore("paintings").getAll()));
  }

  const readAgain = () => inTurn(read);

  /* What the server says: records to keep, which it may say again, and a sentence. */
  function take(told) {
    if (!told) return;
    const { records: fresh = [], sentence: said = "" } = JSON.parse(JSON.stringify(told)); // Gradio's cannot be stored
    sentence = said;
    inTurn(async () => {
      records = sort([...records.values(), ...fresh]);
      const old = [...records.keys()].slice(0, -MOST);
      for (const id of old) records.delete(id);
      if (!database || !fresh.length) return;
      await write((paintings) => {
        for (const record of fresh) paintings.put(record);
        for (const id of old) paintings.delete(id);
      });
      tabs.postMessage(null);
    });
  }

  function forget(ids, all) {
    inTurn(async () => {
      if (database) {
        await write((paintings) => { for (const id of ids) paintings.delete(id); });
        tabs.postMessage({ ids, all });
      }
      forgetHere(ids, all);
    });
  }

  function forgetHere(ids, all) {
    for (const id of ids) records.delete(id);
    sentence = "";
    trigger("clear", { ids, all }); // each tab has a visit of its own on the server
    show();
  }

  const make = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  function makeTile(record) {
    const date = new Date(record.date * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    const picture = make("img", { src: record.picture, alt: `${record.caption}, ${date}`, width: 96, height: 96 });
    const name = make("span", { textContent: record.caption, ariaHidden: "true" });
    const tile = make("button", { type: "button", className: "tile" }, picture, name);
    tile.dataset.of = `${record.caption}, of ${date}`;
    tile.addEventListener("click", () => {
      if (!isForgetting) return trigger("select", { record });
      done.focus(); // the tile, which has it, will be gone
      forget([record.id], false);
    });
    const item = make("li", {}, tile);
    item.dataset.id = record.id;
    return item;
  }

  function show() {
    section.hidden = !records.size;
    if (!records.size) isForgetting = false;
    section.classList.toggle("forgetting", isForgetting);
    const shown = new Map([...list.children].map((item) => [item.dataset.id, item]));
    for (const [id, item] of shown) if (!records.has(id)) item.remove();
    const newest = [...records.values()].reverse();
    newest.forEach((record, place) => {
      const item = shown.get(record.id) ?? makeTile(record); // the same one, which may have the focus
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
      const tile = item.firstChild;
      tile.title = `${isForgetting ? "Forget" : "Show again:"} ${tile.dataset.of}`;
    });
    offer();
    const how = isForgetting ? "Press a painting to forget it, here and on the server." : "";
    const said = [sentence, how, refused].filter(Boolean).join(" ");
    if (status.textContent !== said) status.textContent = said;
  }

  const [begin, all, done] = ["Forget …", "Forget all", "Done"].map((textContent) => {
    return make("button", { type: "button", textContent });
  });

  function offer() {
    all.textContent = `Forget all ${records.size}`;
    const offered = isForgetting ? [all, done] : [begin];
    if (choices.children.length !== offered.length) choices.replaceChildren(...offered);
  }

  function choose(forgetting) {
    isForgetting = forgetting;
    show();
    (forgetting ? done : begin).focus();
  }

  begin.addEventListener("click", () => choose(true));
  done.addEventListener("click", () => choose(false));
  all.addEventListener("click", () => { choose(false); forget([...records.keys()], true); });
  section.addEventListener("keydown", (event) => event.key === "Escape" && isForgetting && choose(false));
  document.addEventListener("visibilitychange", () => document.hidden || readAgain());
  offer();
  take(props.value);
  watch("value", () => take(props.value));
}
