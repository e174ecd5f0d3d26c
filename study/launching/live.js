// The head says how far the run is; the report below is loaded again where it was built anew.
const [bar, said, note, frame] = ["progress", "span", "p", "iframe"].map(name => document.querySelector(name));
const PAUSE = 1000;
let shown = 0;

const named = part => `${part.closest("section")?.id}/${part.querySelector("summary")?.textContent}`;
const load = () => {
  // what the reader has opened stays open, and the page where it was
  const before = frame.contentDocument, top = frame.contentWindow.scrollY;
  const open = new Set([...before.querySelectorAll("details[open]")].map(named));
  frame.addEventListener("load", () => {
    frame.contentDocument.querySelectorAll("details").forEach(part => { part.open ||= open.has(named(part)); });
    frame.contentWindow.scrollTo(0, top);
  }, { once: true });
  frame.hidden = false;
  frame.contentWindow.location.replace("report.html");
};

const look = async () => {
  let state;
  try {
    state = await (await fetch("progress.json")).json();
  } catch {
    said.textContent = "The server has ended; the report is as it was.";
    return;
  }
  bar.value = state.total ? state.done / state.total : 0;
  said.textContent = state.text + (state.building ? "; the report is being built" : "");
  note.textContent = state.version || state.building || state.problem ? state.problem : "There is no report yet.";
  note.hidden = note.textContent === "";
  if (state.version !== shown) {
    shown = state.version;
    load();
  }
  setTimeout(look, PAUSE);
};
look();
