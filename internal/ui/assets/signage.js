// The page /signage/{secret}: names and statuses for a display, without a sign-in.

import { useEffect, useRef, useState } from "preact/hooks";

import { show } from "./app.js";
import { Alert, html, useNow } from "./components.js";
import { Client } from "./client.js";
import { rank } from "./look.js";
import texts from "./texts/board.js";
import { Connection } from "./board/connection.js";
import { Wall } from "./board/wall.js";

const EVERY = 10_000; // ms
const COUNTING = 60_000;

const path = "/v1/signage/" + location.pathname.split("/").pop();
const client = new Client(); // without the sign-in of a tab
const collator = new Intl.Collator(undefined, { numeric: true });

function Signage() {
  const { shown, heard, live, revoked } = usePolling();
  const now = useNow(COUNTING);
  useEffect(() => {
    if (shown) document.title = shown.title;
  }, [shown]);
  if (revoked) return html`<h1>${texts.whoIsHere}</h1><${Alert}>${texts.badLink}<//>`;
  const stale = !live && heard !== null;
  const state = live ? "connected" : heard ? "reconnecting" : "connecting";
  return html`<${Wall} title=${shown?.title ?? ""} people=${shown?.people ?? []} stale=${stale} now=${now}
    connection=${html`<${Connection} state=${state} stale=${stale} heard=${heard} />`} />`;
}

// usePolling asks again and again. A server that has nothing new answers without a body.
function usePolling() {
  const [state, setState] = useState({ shown: null, heard: null, live: false, revoked: false });
  const tag = useRef("");
  useEffect(() => {
    let timer = 0;
    let wanted = true;
    const ask = async () => {
      const change = await read(tag);
      if (!wanted) return;
      setState((s) => ({ ...s, ...change }));
      timer = change.revoked ? 0 : setTimeout(ask, Math.max(EVERY, change.wait ?? 0));
    };
    ask();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, []);
  return state;
}

async function read(tag) {
  try {
    const answer = await client.fetch("GET", path, { headers: tag.current && { "If-None-Match": tag.current } });
    tag.current = answer.headers.get("ETag") ?? "";
    return { shown: arrange(await answer.json()), heard: new Date(), live: true };
  } catch (err) {
    if (err.status === 304) return { heard: new Date(), live: true };
    if (err.status === 404) return { shown: null, revoked: true };
    return { live: false, wait: err.retryAfter };
  }
}

// arrange puts those first who can be reached.
function arrange({ title, people }) {
  const sorted = [...people].sort((a, b) => rank(a.status) - rank(b.status) || collator.compare(a.name, b.name));
  return {
    title,
    people: sorted.map(({ name, status }, i) => ({ user: String(i), name: name || texts.unnamed, groups: [], presence: { status } })),
  };
}

show(html`<${Signage} />`);
