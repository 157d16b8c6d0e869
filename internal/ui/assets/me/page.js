// Ties the session to the page: its events, its storage and the person who is signed in.

import { useEffect, useReducer, useRef } from "preact/hooks";

import { client, may } from "../session.js";
import { Activity, detectionGranted } from "./activity.js";
import { Session } from "./session.js";

const SESSION = "porchlight.session";

let current = null; // the session that the page shows
let kept = takeAway(); // the id of the session before a reload

// takeAway reads and removes the id. A duplicated tab copies the storage, and two tabs must
// not share a session.
function takeAway() {
  const id = sessionStorage.getItem(SESSION) ?? "";
  sessionStorage.removeItem(SESSION);
  return id;
}

// idleAfter is for tests: ?idle_seconds=, 1 to 3600.
function idleAfter() {
  const seconds = Number(new URLSearchParams(location.search).get("idle_seconds"));
  return seconds >= 1 && seconds <= 3_600 ? seconds * 1_000 : undefined;
}

// leaving ends the session before the user signs out. What it returns begins it again, for a
// sign-out that failed.
export function leaving() {
  const session = current;
  session?.signOut();
  return () => session?.signIn();
}

// useSession keeps a session as long as the component is shown.
export function useSession({ me, leave, onWatch }) {
  const [, draw] = useReducer((n) => n + 1, 0);
  const made = useRef(null);
  const on = useRef({});
  on.current = { leave, onWatch };
  made.current ??= make(me, draw, on);
  useEffect(() => {
    const { session, activity } = made.current;
    current = session;
    const forget = listen(session, activity);
    session.start(activity);
    activity.start();
    detectionGranted().then((granted) => granted && activity.detect(true).then(draw, () => {}));
    return () => {
      forget();
      session.signOut();
      session.stop();
      activity.stop();
      current = null;
    };
  }, []);
  return made.current;
}

function make(me, draw, on) {
  const session = new Session({
    client,
    id: kept,
    follows: may(me, "contact:read"),
    on: {
      changed: draw,
      watch: (watch) => on.current.onWatch(watch),
      unauthorized: (words) => on.current.leave(words),
    },
  });
  kept = "";
  return { session, activity: new Activity({ report: (active) => session.report(active), idleAfter: idleAfter() }) };
}

// listen returns a function that ends it.
function listen(session, activity) {
  const listeners = new AbortController();
  const hear = (target, event, run) => target.addEventListener(event, run, { passive: true, signal: listeners.signal });
  for (const kind of ["pointerdown", "pointermove", "wheel", "keydown"]) hear(window, kind, () => activity.input());
  hear(window, "online", () => session.hurry());
  hear(document, "visibilitychange", () => document.visibilityState === "visible" && session.hurry());
  hear(window, "pagehide", () => {
    if (!session.replaced) sessionStorage.setItem(SESSION, session.id);
    session.stop();
  });
  hear(window, "pageshow", (event) => {
    if (!event.persisted) return;
    takeAway(); // the session still has it
    session.start();
  });
  return () => listeners.abort();
}
