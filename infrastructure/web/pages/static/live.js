// Keeps the page fresh. The server draws it; this asks for it again when something has happened, and puts in what differs.
// Completions come over the feed from the position that the page shows, so that none is missed while the connection is down.

import { morph } from "./morph.js";

const TICK = 5_000; // ms; flags and ages change without an event
const SOON = 250; // ms; what happens at once is fetched at once
const RETRY = [500, 1_000, 2_000, 4_000, 8_000]; // ms between attempts to connect
const SAY = 1_000; // ms; the live region speaks no more often

const body = document.body;
const base = body.dataset.base;
const connection = document.getElementById("connection");
const ended = document.getElementById("ended");
const opened = clock(body.dataset.now);
const tally = new Map();
let asOf = opened;
let position = Number(body.dataset.position ?? 0);
let source = null;
let failures = 0;
let retrying = 0;
let speaking = 0;
let fetching = null;
let wanted = 0;
let last = null;

/* ---- what the page shows */

function clock(iso) {
  return iso.slice(11, 19);
}

function show(state, text) {
  if (connection.dataset.state === state && connection.querySelector(".said").textContent === text) return;
  connection.dataset.state = state;
  connection.querySelector(".said").textContent = text;
}

function live() {
  show("live", "Live");
}

function paused() {
  show("paused", `Live updates paused, reconnecting; data as of ${asOf} UTC`);
}

function refresh(wait = SOON) {
  const at = Date.now() + wait;
  if (wanted && wanted <= at) return;
  wanted = at;
  setTimeout(() => { if (wanted === at) { wanted = 0; fetchPage(); } }, wait);
}

async function fetchPage() {
  if (fetching) { fetching.again = true; return; }
  fetching = { again: false };
  const busy = setTimeout(() => { connection.dataset.busy = ""; }, 400);
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    put(new DOMParser().parseFromString(await answer.text(), "text/html"));
    if (!source) connect();
  } catch {
    paused();
  } finally {
    clearTimeout(busy);
    delete connection.dataset.busy;
    const { again } = fetching;
    fetching = null;
    if (again) refresh();
  }
}

function put(fresh) {
  const trouble = fresh.body.dataset.trouble;
  if (Boolean(trouble) !== Boolean(body.dataset.trouble)) {
    if (trouble) { // what is shown stays: it is as true as it was
      paused();
      return;
    }
    location.reload();
    return;
  }
  if (!trouble && !fresh.getElementById("connection")) return; // another server, or a login page
  asOf = clock(fresh.body.dataset.now);
  if (document.querySelectorAll("[data-live]").length !== fresh.querySelectorAll("[data-live]").length) {
    location.reload(); // the first run, or the last one
    return;
  }
  for (const part of fresh.querySelectorAll("[data-live]")) {
    morph(document.getElementById(part.id), part, (row) => row.classList.add("fresh"));
  }
  document.title = fresh.title;
}

/* ---- the feed */

function connect() {
  clearTimeout(retrying);
  if (document.hidden || source || body.dataset.trouble) return;
  source = new EventSource(`${base}/api/completions/stream?after=${position}`);
  source.onopen = () => { failures = 0; live(); refresh(0); };
  source.onmessage = take;
  source.addEventListener("complete", take);
  source.onerror = () => {
    disconnect();
    paused();
    const wait = RETRY[Math.min(failures++, RETRY.length - 1)];
    retrying = setTimeout(connect, wait);
  };
}

function disconnect() {
  source?.close();
  source = null;
}

function take(message) {
  const at = Number(message.lastEventId);
  if (at && at <= position) return; // at least once
  if (at) position = at;
  const signal = JSON.parse(message.data);
  if (!body.dataset.run || String(signal.run_id) === body.dataset.run) count(signal);
  refresh();
}

function count(signal) {
  tally.set(signal.db_status, (tally.get(signal.db_status) ?? 0) + 1);
  last = signal;
  speaking ||= setTimeout(say, SAY);
}

function say() {
  speaking = 0;
  const all = [...tally.values()].reduce((sum, number) => sum + number, 0);
  const lost = last.status_update_failed ? ", and nobody reported it" : "";
  if (body.dataset.run) {
    ended.textContent = `It ended while you were here: ${last.db_status}${lost}.`;
    return;
  }
  const parts = [...tally].map(([status, number]) => `${number} ${status}`).join(", ");
  ended.textContent = `${all} ${all === 1 ? "run has" : "runs have"} ended since ${opened} UTC: ${parts}; the last one was ${last.run_id}${lost}.`;
}

/* ---- begin */

setInterval(() => { if (!document.hidden) refresh(0); }, TICK);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { disconnect(); clearTimeout(retrying); } else { refresh(0); connect(); }
});
connect();
document.documentElement.dataset.script = "on";
