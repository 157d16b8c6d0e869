// The board shows everybody's presence, live. It reads names from GET /v1/presence and
// changes from the stream. It stores only the token.

import { everyone } from "./people.js";
import { endSignIn, forgetToken, nameOf, onSignIn, signedIn, storedToken, takeToken } from "./signin.js";
import { request, Stream } from "./stream.js";
import { clock, fill, kind, rank } from "./view.js";

const PAINT_AFTER = 50; // ms: changes that arrive together are painted once
const NAMES_AFTER = 500; // ms: people who appear together are looked up once
const NAMES_EVERY = 3_000;

const $ = (id) => document.getElementById(id);

// The address of a board of one group, such as on a wall, names the group: /?group=Support.
const only = new URLSearchParams(location.search).get("group") ?? "";

let token = "";
let me = null; // api.Me
let stream = null;
let heard = null; // when the last frame arrived
const people = new Map(); // id to { presence, name, groups, line, painted }
const departed = new Set(); // ids that left since the names were requested
let named = false; // the names were requested on this connection
const snapshot = { seen: null }; // ids of a complete snapshot that arrives in parts
const filter = { text: "", group: "", state: "" };

// ---- Signing in and out

let beginning = 0;
async function begin() {
  const mine = ++beginning;
  token = storedToken();
  complain("");
  const known = token || (await signedIn().catch(() => true)); // the stream tries again by itself
  if (mine !== beginning) return;
  for (const id of ["self", "sign-out"]) $(id).hidden = !known;
  $("to-account").hidden = !known || Boolean(token);
  $("entry").hidden = Boolean(known);
  if (!known) return;
  const followed = only ? { group: only } : { everyone: "true" };
  stream = new Stream(token, { state: showState, frame: receive, open: greet, lost, ended }, followed);
  stream.start();
}

function end() {
  stream?.stop();
  stream = me = heard = snapshot.seen = null;
  token = "";
  forgetToken();
  people.clear();
  $("people").replaceChildren();
  $("account").hidden = true;
  put("connection", "");
  $("connection").dataset.state = "";
  $("again").hidden = true;
  return begin();
}

function ended(code, words) {
  if (code === "unauthorized") {
    end();
    complain(words + " Sign in again.");
    return;
  }
  showState("");
  complain(words);
  $("again").hidden = false;
}

// ---- Requests and frames

async function greet() {
  const mine = stream;
  named = false;
  try {
    me ??= await request(token, "GET", "/v1/me");
    if (stream !== mine) return;
    $("account").hidden = false;
    put("who", me.account_level ? "the app " + (me.app_name || me.app) : nameOf(me));
  } catch (err) {
    if (stream === mine) complain("The signed-in user cannot be shown: " + err.message);
  }
}

// loadNames reads the names of all users on the board. It also gets their presences; the
// revision decides whether these or the stream's are newer. One load runs at a time,
// because departed belongs to it.
let loading = null;
function loadNames(mine) {
  loading ??= readNames(mine).finally(() => {
    loading = null;
  });
  return loading;
}

async function readNames(mine) {
  departed.clear();
  await everyone(token, only, () => stream === mine, (p, name) => {
    if (departed.has(p.user)) return; // the stream is newer than this page of the list
    Object.assign(learn(p), { name, groups: p.groups ?? [], painted: null });
  });
  if (stream === mine) listGroups();
}

// lookUp reads the names again when somebody appears whose name is not known.
let lookingUp = 0;
let lookedUpAt = 0;
function lookUp() {
  const wait = Math.max(NAMES_AFTER, lookedUpAt + NAMES_EVERY - Date.now());
  lookingUp ||= setTimeout(() => {
    lookingUp = 0;
    if (loading) return lookUp(); // its pages may be older than whoever appeared
    lookedUpAt = Date.now();
    if (stream) loadNames(stream).catch(() => {}); // the ids stay until the next time
  }, wait);
}

function receive(frame) {
  heard = new Date();
  switch (frame.type) {
    case "reset": // revisions of different stores cannot be compared
      for (const person of people.values()) person.presence.revision = 0;
      break;
    case "snapshot":
      receiveSnapshot(frame);
      break;
    case "presence":
      departed.delete(frame.user);
      if (!learn(frame).name && named) lookUp();
      break;
    case "gone":
      remove(frame.user);
      break;
    case "error":
      refused(frame.detail || `The server refused the request (${frame.code}).`);
      break;
  }
}

// readFirstNames reads the names once for each connection, after its first snapshot.
async function readFirstNames() {
  if (named) return;
  named = true;
  const mine = stream;
  try {
    await loadNames(mine);
  } catch (err) {
    if (stream === mine) complain("Names cannot be loaded: " + err.message);
  }
}

// refused: without the stream, the board would show old presences as if they were live.
function refused(words) {
  stream.stop();
  ended("refused", words);
}

// receiveSnapshot: a complete one replaces everything, and may have several parts.
function receiveSnapshot(frame) {
  if (!frame.partial) snapshot.seen ??= new Set();
  for (const p of frame.presences ?? []) {
    departed.delete(p.user);
    if (!learn(p).name && named) lookUp();
    snapshot.seen?.add(p.user);
  }
  frame.gone?.forEach(remove);
  paint(); // also if there is nobody
  if (frame.more) return;
  for (const id of people.keys()) if (snapshot.seen?.has(id) === false) remove(id);
  snapshot.seen = null;
  readFirstNames();
}

function learn(presence) {
  const person = people.get(presence.user) ?? { presence: null, name: "", groups: [], line: null, painted: null };
  people.set(presence.user, person);
  if (!person.presence || presence.revision >= person.presence.revision) person.presence = presence;
  paint();
  return person;
}

function remove(user) {
  departed.add(user);
  people.get(user)?.line?.remove();
  people.delete(user);
  paint();
}

function lost() {
  snapshot.seen = null;
}

// ---- Display. Text from the server is inserted as text, never as markup.

let painting = 0;
function paint() {
  painting ||= setTimeout(() => {
    painting = 0;
    const shown = [...people.entries()].map(([id, person]) => paintLine(id, person));
    shown.sort(compare);
    arrange($("people"), shown.map(({ line }) => line));
    applyFilter(shown);
  }, PAINT_AFTER);
}

function paintLine(id, person) {
  person.line ??= document.createElement("li");
  if (person.painted !== person.presence) {
    person.painted = person.presence;
    fill(person.line, person.name || id, person.presence, person.groups);
  }
  return person;
}

const collator = new Intl.Collator();
function compare(a, b) {
  return rank(a.presence.status) - rank(b.presence.status) || collator.compare(a.name, b.name);
}

// arrange puts the lines in order, and moves only those that are not where they belong:
// a line that moved far would otherwise move all that it passed.
function arrange(list, lines) {
  let at = list.firstChild;
  for (const line of lines) {
    if (at && at !== line && at.nextSibling === line) {
      const moved = at;
      at = line;
      moved.remove();
    }
    if (at === line) at = line.nextSibling;
    else list.insertBefore(line, at);
  }
}

function applyFilter(shown) {
  const counts = { "": 0 };
  let visible = 0;
  for (const { line, name, groups, presence } of shown) {
    const found = name.toLocaleLowerCase().includes(filter.text) && (!filter.group || groups.includes(filter.group));
    const state = kind(presence.status);
    if (found) {
      counts[""]++;
      counts[state] = (counts[state] ?? 0) + 1;
    }
    line.hidden = !found || Boolean(filter.state && filter.state !== state);
    if (!line.hidden) visible++;
  }
  for (const button of $("states").querySelectorAll("button")) {
    button.querySelector(".count").textContent = counts[button.dataset.state] ?? 0;
    button.setAttribute("aria-pressed", button.dataset.state === filter.state);
  }
  $("none").hidden = visible > 0 || heard === null;
}

function listGroups() {
  const groups = new Set([...people.values()].flatMap((person) => person.groups));
  const names = [...groups].sort(collator.compare);
  const options = names.map((name) => Object.assign(document.createElement("option"), { value: name, textContent: name }));
  $("group").replaceChildren($("group").options[0], ...options);
  if (!groups.has(filter.group)) filter.group = "";
  $("group").value = filter.group;
  $("group-filter").hidden = names.length === 0 || Boolean(only);
}

function showState(state) {
  const words = { connecting: "Connecting …", connected: "Live", reconnecting: "Reconnecting …" };
  const stale = state !== "connected" && heard !== null;
  $("connection").dataset.state = state;
  put("connection", (words[state] ?? "Not connected") + (stale ? ` Last update ${clock(heard)}.` : ""));
  $("people").classList.toggle("stale", stale);
  $("again").hidden = true;
  if (state === "connected") complain("");
}

function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function complain(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

// ---- Wiring

$("search").addEventListener("input", () => {
  filter.text = $("search").value.trim().toLocaleLowerCase();
  paint();
});
$("group").addEventListener("change", () => {
  filter.group = $("group").value;
  paint();
});
for (const button of $("states").querySelectorAll("button")) {
  button.addEventListener("click", () => {
    filter.state = button.dataset.state;
    paint();
  });
}
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("sign-out").addEventListener("click", async () => {
  try {
    await endSignIn(token);
  } catch (err) {
    return complain("You are still signed in: " + err.message);
  }
  await end();
  $("token").focus();
});
$("reconnect").addEventListener("click", () => {
  complain("");
  stream.start();
});
addEventListener("online", () => stream?.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") stream?.hurry();
});
addEventListener("pagehide", () => stream?.stop());
addEventListener("pageshow", (event) => {
  if (event.persisted) stream?.start();
});

if (only) put("title", only);
takeToken();
onSignIn(begin, end);
begin();
