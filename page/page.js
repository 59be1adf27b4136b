/* What the page does besides Gradio: its tab keeps a secret by which the server finds the visit again after a reload,
   says when it is being closed, shows every error, and does not load itself again when that would lose the visit.
   layout.py puts RESTARTED, the sentence that says so, before it. */
window.visit = (() => {
  /* A component in the page of another site has no configuration here, and its visits end with that page. Otherwise
     by the address of this page: behind a proxy, the server may not know its own. */
  const config = window.gradio_config;
  const root = config && new URL(config.root, location.href).pathname.replace(/\/$/, "");
  const tell = (what) => config && navigator.sendBeacon(`${root}/visit/${what}`, token());
  let secret = "";
  let isFirstPage = true; // of this tab

  function token() {
    if (secret) return secret;
    const digits = crypto.getRandomValues(new Uint8Array(16));
    secret = Array.from(digits, (digit) => digit.toString(16).padStart(2, "0")).join("");
    try {
      const kept = sessionStorage.getItem("visit");
      if (kept) [secret, isFirstPage] = [kept, false];
      sessionStorage.setItem("visit", secret);
    } catch {
      /* A frame may be refused the storage. Its visit then ends with the page. */
    }
    return secret;
  }

  let reloading = false;
  tell("return");

  /* A page that comes back, or was opened by a link, is filled by the server. What was chosen before that would be
     overwritten, so nothing can be pressed until then, and files wait. */
  let open;
  const opened = new Promise((resolve) => { open = resolve; });
  token();
  if (!config || (isFirstPage && !location.search)) open();
  else {
    const { style } = document.documentElement;
    style.pointerEvents = "none";
    style.setProperty("--said-of-nothing", "hidden");  // "Nothing painted yet": see page.css
    opened.then(() => {
      style.pointerEvents = "";
      style.removeProperty("--said-of-nothing");
    });
    setTimeout(open, 5000);
  }
  /* What a second painting is chosen with is shown or hidden by its button; a link to it shows it. */
  function showSecondPart(shown) {
    const { dataset } = document.getElementById("desk");
    dataset.second = shown ?? dataset.second !== "true";
    document.getElementById("second-toggle").ariaExpanded = dataset.second;
  }
  addEventListener("click", (event) => {
    if (!event.target.closest?.('a[href="#second-part"]')) return;
    event.preventDefault(); // Gradio builds the page anew when its address changes
    showSecondPart(true);
    document.getElementById("second-part").scrollIntoView();
  });
  /* What is drawn on the photo counts: Paint takes it first, as "Done" and "Use this part" do. */
  addEventListener("click", async (event) => {
    const button = event.target.closest?.("#paint, #surprise, #try-styles");
    const findTake = () => document.querySelector("#take-marks, #use-part");
    if (!button || !findTake()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    findTake().click();
    for (let waited = 0; findTake() && waited < 10_000; waited += 50) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (!findTake()) setTimeout(() => button.click(), 100); // else a sentence says why
  }, true);
  addEventListener("pagehide", () => reloading || tell("leave"));
  addEventListener("pageshow", (event) => event.persisted && location.reload()); // its connections are gone

  /* While a run of this tab is on or waits, Stop can be pressed. A server that was restarted has no run. Gradio would
     close its connections before the visitor has decided to leave. */
  addEventListener("beforeunload", (event) => {
    if (reloading || restarted || document.getElementById("stop")?.disabled !== false) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  /* A sentence above the page, until it is closed. */
  function say(sentence) {
    document.getElementById("said")?.remove();
    const bar = document.createElement("div");
    bar.id = "said";
    bar.setAttribute("role", "alert");
    const close = Object.assign(document.createElement("button"), { textContent: "×", ariaLabel: "Close" });
    close.addEventListener("click", () => bar.remove());
    bar.append(sentence, close);
    document.body.prepend(bar);
  }

  const fetchFromServer = window.fetch;
  let restarted = false;
  window.fetch = async (resource, options) => {
    const address = String(resource?.url ?? resource);
    if (address.endsWith("/app_id")) return fetchId(resource, options);
    const response = await fetchFromServer(resource, options);
    /* Gradio shows no error of an event that does not wait in the queue. */
    if (response.status === 500 && address.includes("/run/")) {
      const { error } = await response.clone().json().catch(() => ({}));  // a proxy's page has none
      if (error) say(error);
    }
    return response;
  };

  /* When a connection is lost, Gradio asks for the server's id until there is an answer, and then loads the page again.
     A server that was restarted knows nothing of the visit, so the page stays as it is. */
  async function fetchId(resource, options) {
    if (restarted) throw new Error(RESTARTED);
    const response = await fetchFromServer(resource, options);
    if (!response.ok) return response;
    const { app_id: id } = await response.clone().json();
    if (config && id !== config.app_id) {
      restarted = true;
      document.body.classList.add("restarted");
      say(RESTARTED);
      throw new Error(RESTARTED);
    }
    reloading = true;
    return response;
  }

  return { token, open, opened, showSecondPart };
})();
