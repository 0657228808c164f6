// Keeps the page fresh. The server draws it; this asks for it again when something has happened, and puts in what differs.
// Last words come over a stream from the position that the page shows, so that none is missed while the connection is down.

import { morph } from "./morph.js";

const TICK = 5_000; // ms; flags and ages change without an event
const SOON = 50; // ms; what happens at once is fetched at once
const GAP = 500; // ms between two fetches, whatever happens
const RETRY = [250, 500, 1_000, 2_000, 4_000]; // ms between attempts to connect
const HEAL = 1_500; // ms until the page is asked for again that was not had
const SAY = 1_000; // ms; the live region speaks no more often
const AWAY = "503"; // the page that stands for a store that does not answer

const page = document.body.dataset;
const connection = document.getElementById("connection");
const ended = document.getElementById("ended");
const since = clock(page.now);
const wrong = new Set(); // of "stream", "page", "store": why the page may be out of date
const counts = new Map();
let asOf = since;
let position = Number(page.position ?? 0);
let source = null;
let attempts = 0;
let retrying = 0;
let speaking = 0;
let last = null;
let planned = 0; // when the next fetch is due; 0: none is
let fetchedAt = 0;
let fetching = false;

function clock(iso) {
  return iso.slice(11, 19);
}

/* ---- what the page says of itself */

function is(what, bad) {
  if (bad) wrong.add(what); else wrong.delete(what);
  let text = "Live";
  if (wrong.has("store")) text = `The store does not answer; data as of ${asOf} UTC`;
  else if (wrong.size) text = `Live updates paused, reconnecting; data as of ${asOf} UTC`;
  connection.dataset.state = wrong.size ? "paused" : "live";
  const said = connection.querySelector(".said");
  if (said.textContent !== text) said.textContent = text;
}

/* ---- fetching */

function refresh(wait = SOON) {
  const due = Math.max(Date.now() + wait, fetchedAt + GAP);
  if (planned && planned <= due) return;
  planned = due;
  setTimeout(() => { if (planned === due) fetchPage(); }, due - Date.now());
}

async function fetchPage() {
  planned = 0;
  if (fetching) { refresh(GAP); return; }
  fetching = true;
  fetchedAt = Date.now();
  const from = position;
  const busy = setTimeout(() => { connection.dataset.busy = ""; }, 400);
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    put(new DOMParser().parseFromString(await answer.text(), "text/html"), from);
    is("page", false);
  } catch {
    is("page", true);
  } finally {
    clearTimeout(busy);
    delete connection.dataset.busy;
    fetching = false;
  }
  if (wrong.has("page") || wrong.has("store")) refresh(HEAL);
}

function put(fresh, from) {
  const answer = fresh.body.dataset;
  if (answer.trouble === AWAY && page.trouble !== AWAY) { // what is shown stays: it is as true as it was
    is("store", true);
    return;
  }
  if (answer.trouble !== page.trouble || !answer.now) { // another page altogether, such as the one to sign in
    location.reload();
    return;
  }
  asOf = clock(answer.now);
  is("store", answer.trouble === AWAY);
  if (page.trouble) return;
  if (Number(answer.position) < from) { // not the store that it was
    disconnect();
    position = Number(answer.position);
  }
  for (const part of fresh.querySelectorAll("[data-live]")) {
    morph(document.getElementById(part.id), part, (row) => row.classList.add("fresh"));
  }
  document.title = fresh.title;
  connect();
}

/* ---- the stream */

function connect() {
  if (document.hidden || source || page.trouble) return;
  clearTimeout(retrying);
  source = new EventSource(`${page.base}/news?after=${position}`);
  source.onopen = () => {
    attempts = 0;
    is("stream", false);
    refresh(0);
  };
  source.onerror = () => {
    disconnect();
    is("stream", true);
    retrying = setTimeout(connect, RETRY[Math.min(attempts++, RETRY.length - 1)]);
  };
  source.addEventListener("complete", (message) => {
    if (isNew(message)) count(JSON.parse(message.data));
  });
  source.addEventListener("change", isNew);
}

function disconnect() {
  clearTimeout(retrying);
  source?.close();
  source = null;
}

function isNew(message) {
  refresh();
  const at = Number(message.lastEventId);
  if (at <= position) return false; // last words come at least once
  position = at;
  return true;
}

function count(signal) {
  if (page.run !== undefined && String(signal.run_id) !== page.run) return;
  counts.set(signal.db_status, (counts.get(signal.db_status) ?? 0) + 1);
  last = signal;
  speaking ||= setTimeout(say, SAY);
}

function say() {
  speaking = 0;
  const lost = last.status_update_failed ? ", and nobody reported it" : "";
  if (page.run !== undefined) {
    ended.textContent = `It ended while you were here: ${last.db_status}${lost}.`;
    return;
  }
  const all = [...counts.values()].reduce((sum, number) => sum + number, 0);
  const parts = [...counts].map(([status, number]) => `${number} ${status}`).join(", ");
  ended.textContent = `${all} ${all === 1 ? "run has" : "runs have"} ended since ${since} UTC: ${parts}; the last one was ${last.run_id}${lost}.`;
}

/* ---- begin */

setInterval(() => { if (!document.hidden) refresh(0); }, TICK);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect(); // a browser has few connections to one host
  else { refresh(0); connect(); }
});
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (event) => { if (event.persisted) { refresh(0); connect(); } });
if (page.trouble) is("store", true);
connect();
