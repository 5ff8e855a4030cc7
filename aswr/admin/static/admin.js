// Brings the pages to life: they are complete without it, but as of when they were loaded.
//
// The server makes all HTML. When something happens, the page is fetched anew, and what differs in
// its parts (`data-part`) is put in place; only times are counted on in between. A page that costs
// much is fetched seldom, and one that lists a store (`data-still`) only when somebody asks.

import * as charts from "./charts.js";

const NARROW = "\u202f";
const SOONEST = { overview: 1500, entry: 1500 }; // milliseconds between two fetches of the page
const SOON = 3000;
const TIMES = 20; // what the page took the server, at least, until it is fetched anew
const POLL = 5000; // where no stream can be had
const TRY_AGAIN = 2000; // to get a stream after all: the page before this one may have it still
const SELDOM = 30000; // the same, in the end
const QUIET = 6000; // without a word from the stream, which speaks every second

const body = document.body;
const page = body.dataset.page;
const hasCharts = Boolean(document.querySelector("[data-chart]"));
let ahead = Number(body.dataset.at) - Date.now() / 1000; // of the server's clock
let process = body.dataset.process;

document.documentElement.classList.add("js");

// Times, as `aswr/words.py` writes them.

export function duration(seconds) {
  if (!seconds) return `0${NARROW}s`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)}${NARROW}ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)}${NARROW}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}${NARROW}s`;
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return two(Math.floor(whole / 3600), "h", Math.floor(whole % 3600 / 60), "min");
  return two(Math.floor(whole / 86400), "d", Math.floor(whole % 86400 / 3600), "h");
}

function two(large, largeUnit, small, smallUnit) {
  return `${large}${NARROW}${largeUnit}` + (small ? ` ${small}${NARROW}${smallUnit}` : "");
}

// What is counted on: whole seconds, so that it does not flicker.
const counted = (seconds) => seconds < 0.5 ? `0${NARROW}s` : duration(Math.max(1, Math.round(seconds))).replace(".0", "");

const serverNow = () => Date.now() / 1000 + ahead;

function stateOf(element, now) {
  const { fresh, stale, error } = element.dataset;
  if (now < Number(fresh)) return ["fresh", fresh - now];
  if (now < Number(stale)) return ["stale", stale - now];
  if (now < Number(error)) return ["error", error - now];
  return ["gone", 0];
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = serverNow();
  for (const one of document.querySelectorAll("[data-since]")) {
    set(one, counted(Math.max(0, now - Number(one.dataset.since))));
  }
  for (const one of document.querySelectorAll("[data-until]")) {
    set(one, counted(Math.max(0, Number(one.dataset.until) - now)));
  }
  for (const one of document.querySelectorAll("[data-state]:not([data-pass])")) {
    if (one.classList.contains("note")) continue;
    const [state] = stateOf(one, now);
    set(one, state);
    one.className = `state ${state}`;
  }
  for (const one of document.querySelectorAll("[data-left]")) {
    const [state, left] = stateOf(one, now);
    set(one, state === "gone" ? "over" : counted(left));
  }
  for (const one of document.querySelectorAll("svg.life")) {
    const { begin, end } = one.dataset;
    const part = `${Math.max(0, Math.min(100, 100 * (now - begin) / (end - begin))).toFixed(2)}%`;
    one.querySelector(".over").setAttribute("width", part);
    one.querySelector(".now").setAttribute("x", part);
  }
  const line = document.querySelector("svg.line");
  if (line) moveNow(line, now);
}

function moveNow(line, now) {
  const { begin, end } = line.dataset;
  const part = 100 * (now - begin) / (end - begin);
  if (part > 100) return refreshSoon();
  const mark = line.querySelector(".now-line"), at = `${part.toFixed(2)}%`;
  mark.querySelector("line").setAttribute("x1", at);
  mark.querySelector("line").setAttribute("x2", at);
  mark.querySelector("text").setAttribute("x", at);
  mark.querySelector("text").setAttribute("text-anchor", part > 92 ? "end" : part < 8 ? "start" : "middle");
}

// The page, fetched anew.

let fetched = Date.now(); // when
let took = Number(document.querySelector("footer").dataset.took); // seconds
let due = null;
let acting = 0; // buttons at work: what they say must not be fetched by somebody else

const still = () => "still" in body.dataset;

function refreshSoon() {
  if (due !== null || still()) return;
  const soonest = Math.max(SOONEST[page] ?? SOON, 1000 * TIMES * took);
  due = setTimeout(() => {
    due = null;
    if (!still()) refresh();
  }, Math.max(0, fetched + soonest - Date.now()));
}

async function refresh() {
  if (acting || document.hidden) return;
  fetched = Date.now();
  try {
    const response = await fetch(location.href, { credentials: "same-origin" });
    if (!acting && isPage(response)) take(await response.text(), false);
  } catch {
    // the stream tells that the server is away
  }
}

const isPage = (response) => response.ok && !response.redirected &&
  (response.headers.get("Content-Type") ?? "").startsWith("text/html");

function take(html, said) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  if (!fresh.body.dataset.at) return false; // not a page of ours: a login
  for (const part of document.querySelectorAll("[data-part]")) {
    const next = fresh.getElementById(part.id);
    if (next && (said || part.id !== "said")) morph(part, next);
  }
  ahead = Number(fresh.body.dataset.at) - Date.now() / 1000;
  took = Number(fresh.querySelector("footer").dataset.took);
  body.toggleAttribute("data-still", fresh.body.hasAttribute("data-still"));
  tick();
  if (hasCharts) charts.draw();
  return true;
}

// Make one element like another, and leave in place what is the same: focus and scroll stay.
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  if (old.hasAttribute("data-spark")) return; // drawn here
  const known = new Map([...old.children].filter((one) => one.id).map((one) => [one.id, one]));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = node.id ? known.get(node.id)
      : at && !at.id && at.nodeName === node.nodeName ? at : undefined;
    if (!same) {
      old.insertBefore(document.importNode(node, true), at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    if (same.nodeType === Node.ELEMENT_NODE) morph(same, node);
    else if (same.nodeValue !== node.nodeValue) same.nodeValue = node.nodeValue;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// Buttons.

function tell(state, text) {
  const note = document.createElement("p"), inner = document.createElement("span");
  note.className = `note ${state}`;
  inner.textContent = text;
  note.append(inner);
  document.getElementById("said").replaceChildren(note);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-act]")) return;
  event.preventDefault();
  const button = event.submitter;
  if (button.getAttribute("aria-busy") === "true") return;
  const row = button.closest("tr"), beside = row && (row.nextElementSibling ?? row.previousElementSibling);
  const heir = beside?.querySelector(`[id^="${button.id.split("-")[0]}-"]`);
  button.setAttribute("aria-busy", "true");
  acting += 1;
  const slow = setTimeout(() => tell("", `${button.getAttribute("aria-label") ?? button.textContent}: under way…`), 400);
  try {
    const response = await fetch(form.action, {
      method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin",
    });
    const html = await response.text();
    clearTimeout(slow);
    form.closest("[popover]")?.hidePopover();
    if (!response.ok) {
      const said = new DOMParser().parseFromString(html, "text/html").getElementById("said");
      tell("error", said?.textContent.trim() || `The server said ${response.status}.`);
    } else if (!take(html, true)) {
      location.reload(); // signed out
    }
  } catch {
    tell("error", "The server did not answer.");
  } finally {
    clearTimeout(slow);
    acting -= 1;
    button.removeAttribute("aria-busy");
    if (!button.isConnected) (heir?.isConnected ? heir : document.getElementById("main")).focus();
    refreshSoon();
  }
});

const filters = document.querySelector("form[data-filters]");
if (filters) {
  let typed;
  const apply = () => {
    const asked = [...new FormData(filters)].filter(([, value]) => value);
    const query = new URLSearchParams(asked).toString();
    history.replaceState(null, "", filters.action + (query ? `?${query}` : ""));
    filters.querySelector(".clear").hidden = !asked.some(([name]) => name !== "sort" && name !== "source");
    refresh();
  };
  filters.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(apply, 200); });
  filters.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
}

// The stream.

const live = document.getElementById("live");
let stream = null;
let poll = null;
let since = 0;
let before = "";
let heardAt = 0;
let refused = 0; // times in a row

function status(kind, text) {
  live.className = `live ${kind}`;
  set(document.getElementById("live-text"), text);
}

function heard(said) {
  heardAt = Date.now();
  ahead = said.at - Date.now() / 1000;
  const from = `${said.worker.host}/${said.worker.pid}`;
  if (from !== process) {
    process = from;
    charts.forget();
    refreshSoon();
  }
  since = said.since;
  if (hasCharts && charts.add(said.samples)) charts.draw();
  const now = JSON.stringify([said.stats, said.flights.length]);
  if ((before && now !== before) || said.happened.length) refreshSoon();
  before = now;
}

function open() {
  stop();
  stream = new EventSource(`${body.dataset.live}?since=${since}`);
  heardAt = Date.now();
  stream.onmessage = (event) => { refused = 0; status("on", "Live"); heard(JSON.parse(event.data)); };
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return; // it comes again by itself
    stop();
    ask();
    const pause = Math.min(SELDOM, TRY_AGAIN * 2 ** refused++);
    setTimeout(() => { if (poll !== null && !document.hidden) open(); }, pause);
  };
}

function stop() {
  stream?.close();
  clearTimeout(poll);
  stream = poll = null;
}

async function ask() {
  poll = setTimeout(ask, POLL);
  try {
    const response = await fetch(`${body.dataset.pulse}?since=${since}`, { credentials: "same-origin" });
    if (response.status === 401 || response.status === 403 || response.redirected) {
      stop();
      return status("off", "Signed out: load the page anew");
    }
    heard(await response.json());
    status("polls", `Every ${POLL / 1000} s`);
  } catch {
    status("off", "No answer, trying again");
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stop();
    status("", "Paused");
  } else {
    open();
    refreshSoon();
  }
});
addEventListener("pagehide", stop);

if (hasCharts) charts.start(duration);
setInterval(() => {
  tick();
  if (stream && Date.now() - heardAt > QUIET) status("off", "No answer, trying again");
}, 1000);
tick();
if (!document.hidden) open();
