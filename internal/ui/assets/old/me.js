// The page is a session: its user is signed in while it is open, and the page
// reports whether the user is active. Everything is in memory except the token and,
// across a reload, the session's id, which are in the tab's session storage.

import { everyone } from "./people.js";
import { endSignIn, forgetToken, nameOf, onSignIn, signedIn, storedToken, takeToken } from "./signin.js";
import { request, Stream } from "./stream.js";
import { clock, fill, icon, times, word } from "./view.js";

const SESSION = "porchlight.session";
const IDLE_AFTER = idleParameter() ?? 5 * 60_000; // ms
const ACTIVITY_EVERY = 30_000;
const HINT_AFTER = 2_000;

const $ = (id) => document.getElementById(id);

let token = "";
let me = null; // api.Me
let stream = null;
let session = takeAway(SESSION) || chosenID();
let heard = null; // when the last frame arrived
let replaced = false; // by another session: this page does not sign in by itself
const own = { presence: null };
const contacts = { people: new Map(), names: new Map(), cursor: "", following: false, more: false };
const person = { active: true, reported: undefined, reportedAt: 0, lastInput: Date.now(), timer: 0 };
const asked = new Map(); // pending requests, by the id of the frame
let lastID = 0;

// For tests: ?idle_seconds=, 1 to 3600.
function idleParameter() {
  const seconds = Number(new URLSearchParams(location.search).get("idle_seconds"));
  return seconds >= 1 && seconds <= 3_600 ? seconds * 1_000 : undefined;
}

// chosenID is a session id for sign_in until the server has assigned one, so that a
// repeated sign_in does not start a second session.
function chosenID() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// takeAway reads and removes a value of the tab's storage. A duplicated tab copies
// the storage, and two tabs must not share a session.
function takeAway(key) {
  const value = sessionStorage.getItem(key) ?? "";
  sessionStorage.removeItem(key);
  return value;
}

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
  stream = new Stream(token, { state: showState, frame: receive, open: greet, lost, ended });
  stream.start();
}

// end signs out locally and clears the page.
function end() {
  stream?.stop();
  stream = me = own.presence = null;
  token = "";
  showReplaced(false);
  forgetToken();
  contacts.people.clear();
  contacts.names.clear();
  Object.assign(contacts, { cursor: "", following: false, more: false });
  person.reported = undefined;
  for (const id of ["note", "times", "icon", "hint", "connection"]) $(id).replaceChildren();
  $("connection").dataset.state = "";
  $("again").hidden = true;
  put("word", "Loading …");
  put("who", "My status");
  document.title = "My status · Porchlight";
  showContacts();
  return begin();
}

async function leave() {
  stream?.send({ type: "sign_out" }); // sent before the close
  try {
    await endSignIn(token);
  } catch (err) {
    return complain("You are still signed in: " + err.message);
  }
  await end();
  $("token").focus();
}

// ended: the stream will not reconnect automatically.
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

// greet continues or starts the session. A reconnection is not activity, so the page
// sends only what the server does not know.
async function greet() {
  const mine = stream;
  if (!replaced) signIn();
  try {
    me ??= await request(token, "GET", "/v1/me");
    if (stream !== mine) return;
    put("who", nameOf(me));
    follow();
  } catch {
    // Only the stream is essential. The next connection tries again.
  }
}

function signIn() {
  const stated = person.active && person.reported !== false ? undefined : person.active;
  ask({ type: "sign_in", client_type: "web", session, active: stated }, { what: "sign_in", stated, session });
}

// showReplaced: a newer session replaced this page's. The user decides whether to sign
// in again, because two pages that do so automatically would replace each other forever.
function showReplaced(on) {
  replaced = on;
  session = chosenID();
  if (on) $("present").hidden = true;
  $("replaced").hidden = !on;
  complain(on ? "A newer session has replaced this page's session. This page no longer affects your status." : "");
}

function may(scope) {
  return me.scopes.includes(scope) || me.scopes.includes(scope + ":admin");
}

function follow() {
  if (!may("contact:read")) return;
  contacts.following = false;
  ask({ type: "follow", contacts: true, cursor: contacts.cursor || undefined }, { what: "contacts" });
}

// ask sends a frame that expects an answer.
function ask(frame, about) {
  const id = about.what + "-" + ++lastID;
  if (!stream?.send({ ...frame, id })) return false;
  asked.set(id, about);
  return true;
}

function receive(frame) {
  heard = new Date();
  const about = asked.get(frame.id);
  switch (frame.type) {
    case "reset": // revisions of different stores cannot be compared
      contacts.cursor = "";
      for (const p of [own.presence, ...contacts.people.values()]) if (p) p.revision = 0;
      break;
    case "snapshot":
      if (about?.what === "contacts") receiveContacts(frame);
      else frame.presences?.forEach(learn);
      break;
    case "presence":
      learn(frame);
      break;
    case "gone":
      contacts.people.delete(frame.user);
      showContacts();
      break;
    case "done":
      done(about, frame);
      break;
    case "error":
      refused(about, frame);
      break;
  }
  // Until the contacts are complete, a cursor does not cover them.
  if (frame.cursor && contacts.following) contacts.cursor = frame.cursor;
  if (frame.id && !frame.more) asked.delete(frame.id);
}

function learn(presence) {
  const [isOwn, known] = whose(presence);
  if (known && presence.revision < known.revision) return;
  if (isOwn) {
    own.presence = presence;
    showOwn();
  } else {
    contacts.people.set(presence.user, presence);
    showContacts();
  }
}

// whose: the page's own user is whom it follows as "me", also before GET /v1/me
// has been answered.
function whose(presence) {
  const isOwn = presence.asked_as === "me" || presence.user === (me?.user ?? own.presence?.user);
  return [isOwn, isOwn ? own.presence : contacts.people.get(presence.user)];
}

function receiveContacts(frame) {
  if (!frame.partial && !contacts.more) contacts.people.clear();
  contacts.more = Boolean(frame.more);
  contacts.following = !frame.more;
  frame.gone?.forEach((user) => contacts.people.delete(user));
  frame.presences?.forEach(learn);
  showContacts();
}

function done(about, frame) {
  if (about?.what === "claim") chosen(about.status);
  if (about?.what !== "sign_in") return;
  session = frame.session;
  $("present").hidden = false;
  if (about.stated !== undefined) setReported(about.stated);
  else if (session !== about.session) setReported(true); // a new one is active
  if (person.reported === !person.active) reportActivity(person.active); // it changed while the request was pending
}

function refused(about, frame) {
  if (frame.code === "session-replaced") return showReplaced(true);
  if (about?.what === "contacts") return; // the token may not read contacts: show no list
  if (about?.what === "activity") person.reportedAt = 0; // the next input reports it again
  if (about?.what === "sign_in" && frame.code === "insufficient-scope") {
    complain("This token may show your status, but may not sign you in. Ask for one with the default scopes.");
    return;
  }
  complain(frame.detail || `The server refused the request (${frame.code}).`);
}

function lost() {
  if ([...asked.values()].some(({ what }) => what === "claim")) {
    complain("The connection was lost before the server answered. Check your status, and set it again if necessary.");
  }
  asked.clear();
  Object.assign(contacts, { following: false, more: false });
}

// ---- Setting the status

async function choose(status) {
  complain("");
  put("hint", "");
  const note = $("text").value.trim();
  const end = chosenEnd();
  if (end === null) return;
  const sent = ask(
    { type: "claim", claim: "manual", source: "manual", status, note: note || undefined, ...(status !== "available" && end) },
    { what: "claim", status },
  );
  if (!sent) complain("Not connected to the server. Try again in a moment.");
  else if (status === "available") await keepNote(note);
}

// chosenEnd is the end of the claim as members of the frame, or null if the form lacks it.
function chosenEnd() {
  const lasts = $("lasts").value;
  if (lasts === "") return {};
  if (lasts !== "at" && lasts !== "today") return { duration_seconds: Number(lasts) * 60 };
  const until = lasts === "today" ? new Date(new Date().setHours(23, 59, 59, 0)) : new Date($("at").value);
  if (until > new Date()) return { until: until.toISOString() };
  complain("Choose a time in the future.");
  $("at").focus();
  return null;
}

// chosen: a call or a meeting may take precedence over the chosen status. The frame
// with the shown status arrives separately, a second later if many preceded it.
let hinting = 0;
function chosen(status) {
  $("text").value = "";
  clearTimeout(hinting);
  hinting = setTimeout(() => {
    const shown = own.presence?.status;
    if (shown && shown !== status) put("hint", `${word(status)} is set, but “${word(shown)}” takes precedence until it ends.`);
  }, HINT_AFTER);
}

// keepNote sets the user's own note: a manual claim of available is not stored, so a
// note in it would be lost.
async function keepNote(note) {
  if (!note && !own.presence?.note) return;
  try {
    await (note ? request(token, "PUT", "/v1/users/me/note", { text: note }) : request(token, "DELETE", "/v1/users/me/note"));
  } catch (err) {
    complain("The note was not set: " + err.message);
  }
}

// submitNote sets a note together with the shown status, if users can choose that
// status.
function submitNote(event) {
  event.preventDefault();
  const status = own.presence?.status;
  if ($("statuses").querySelector(`button[data-status="${CSS.escape(status ?? "")}"]`)) choose(status);
  else complain("Choose a status for the note.");
}

// ---- Activity of the user

function input() {
  person.lastInput = Date.now();
  if (!person.active) {
    person.active = true;
    reportActivity(true);
    watch(IDLE_AFTER);
  } else if (Date.now() - person.reportedAt >= ACTIVITY_EVERY) {
    reportActivity(true);
  }
}

function reportActivity(active) {
  if (!replaced && ask({ type: "activity", active }, { what: "activity" })) setReported(active);
}

function setReported(active) {
  person.reported = active;
  person.reportedAt = Date.now();
}

// watch checks for idleness at the earliest time at which the user can be idle. A
// hidden page gets no input, so it needs no rule of its own.
function watch(after) {
  clearTimeout(person.timer);
  person.timer = setTimeout(() => {
    const left = IDLE_AFTER - (Date.now() - person.lastInput);
    if (left > 0) return watch(left);
    person.active = false;
    reportActivity(false);
  }, after);
}

// ---- Display. Text from the server is inserted as text, never as markup.

function showState(state) {
  const words = { connecting: "Connecting …", connected: "Connected", reconnecting: "Reconnecting …" };
  const stale = state !== "connected" && own.presence !== null;
  $("connection").dataset.state = state;
  put("connection", (words[state] ?? "Not connected") + (stale ? ` Last update ${clock(heard)}.` : ""));
  $("shown").classList.toggle("stale", stale);
  $("contacts").classList.toggle("stale", stale);
  $("again").hidden = true;
}

// put does not replace equal text: a screen reader announces every replacement.
function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function complain(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

function showOwn() {
  const presence = own.presence;
  $("shown").dataset.status = presence.status;
  $("icon").replaceChildren(icon(presence.status));
  put("word", word(presence.status));
  put("note", presence.note ?? "");
  put("times", times(presence));
  put("hint", "");
  document.title = word(presence.status) + " · Porchlight";
  for (const button of $("statuses").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.status === presence.status);
  }
}

// showContacts renders changes that arrive together once: a list may have a thousand
// lines.
let painting = 0;
function showContacts() {
  painting ||= setTimeout(() => {
    painting = 0;
    const named = [...contacts.people.values()].map((p) => [contactName(p), p]);
    named.sort(([a], [b]) => a.localeCompare(b));
    $("people").replaceChildren(...named.map(([name, p]) => {
      const line = document.createElement("li");
      fill(line, name, p);
      return line;
    }));
    $("contacts").hidden = named.length === 0;
  }, 50);
}

// contactName returns the best known name of a contact. The names are read once for
// all contacts, and again when one appears whose name is not known.
function contactName(presence) {
  const { user } = presence;
  if (!contacts.names.has(user)) {
    contacts.names.set(user, presence.asked_as || user);
    readNames();
  }
  return contacts.names.get(user);
}

let reading = false;
async function readNames() {
  if (reading) return;
  reading = true;
  const mine = stream;
  try {
    await everyone(token, "", () => stream === mine, ({ user }, name) => {
      if (contacts.people.has(user)) contacts.names.set(user, name);
    });
  } catch {
    // The names or ids that are known stay.
  }
  reading = false;
  showContacts();
}

// ---- Wiring

for (const button of $("statuses").querySelectorAll("button")) {
  button.append(icon(button.dataset.status), word(button.dataset.status));
  button.addEventListener("click", () => choose(button.dataset.status));
}
$("choice").addEventListener("submit", submitNote);
$("sign-out").addEventListener("click", leave);
$("sign-in-again").addEventListener("click", () => {
  showReplaced(false);
  signIn();
});
$("reconnect").addEventListener("click", () => {
  complain("");
  stream.start();
});
$("lasts").addEventListener("change", () => {
  $("ends-at").hidden = $("lasts").value !== "at";
  $("default-end").hidden = $("lasts").value !== "";
});

for (const kind of ["pointerdown", "pointermove", "wheel", "keydown"]) {
  addEventListener(kind, input, { passive: true });
}
addEventListener("online", () => stream?.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") stream?.hurry();
});

// Leaving the page closes the connection. The server keeps the session for a grace
// period, so that a user who returns continues it.
addEventListener("pagehide", () => {
  if (!replaced) sessionStorage.setItem(SESSION, session);
  stream?.stop();
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  takeAway(SESSION); // the variable still has it
  stream?.start();
});

takeToken();
onSignIn(begin, end);
watch(IDLE_AFTER);
begin();
