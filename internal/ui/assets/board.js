// The page /: everybody's presence, live. docs/streaming.md describes the stream.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Alert, Empty, html, toast, useNow } from "./components.js";
import { word } from "./look.js";
import { client, isAdministrator } from "./session.js";
import texts from "./texts/board.js";
import { Connection } from "./board/connection.js";
import { Details } from "./board/details.js";
import { Filters } from "./board/filters.js";
import { List } from "./board/list.js";
import { Live } from "./board/live.js";
import { notify, useMine } from "./board/mine.js";
import { format, parse } from "./board/query.js";
import { SignageLinks } from "./board/links.js";
import { Wall } from "./board/wall.js";

const COUNTING = 30_000; // ms, between two updates of the times that count

function Page({ me, leave }) {
  const [query, setQuery] = useQuery();
  const mine = useMine(me);
  const live = useLive(me, query, leave, mine);
  const now = useNow(COUNTING);
  const [signage, setSignage] = useState(false);
  const groups = useMemo(() => live.people.groups(), [live.people.version]);
  const arranged = useMemo(() => live.people.arrange(query, mine.contacts), [live.people.version, query, mine.contacts]);
  const sections = useMemo(() => arranged.sections.map((s) => ({ ...s, title: titleOf(s.title, query.by) })), [arranged]);
  if (query.wall) {
    return html`<${Alert}>${problemOf(live)}<//>
      <${Wall} title=${query.only || query.group || texts.title} people=${arranged.sections.flatMap((s) => s.people)} stale=${live.stale} connection=${html`<${Connection} state=${live.state} stale=${live.stale} heard=${live.heard} />`} now=${now} />`;
  }
  return html`<header><h1 id="title">${query.only || texts.title}</h1><${Connection} state=${live.state} stale=${live.stale} heard=${live.heard} /></header>
    <${Alert}>${problemOf(live)}<//>
    <p id="again" hidden=${live.state !== ""}><button type="button" id="reconnect" onClick=${() => live.start()}>${texts.reconnect}</button></p>
    <${Filters} query=${query} groups=${groups} counts=${arranged.counts} total=${arranged.total} hasContacts=${!me.account_level} onChange=${setQuery} />
    <${People} me=${me} live=${live} mine=${mine} query=${query} sections=${sections} now=${now} />
    <div id="none" hidden=${arranged.visible > 0 || live.heard === null}><${Empty}>${emptyWords(query, live, mine)}<//></div>
    <footer class="quiet"><span>${texts.keys} ${texts.unchanged}</span><span class="row">
      ${isAdministrator(me) && html`<button type="button" id="signage" class="small" onClick=${() => setSignage(true)}>${texts.signage}</button>`}
      <a href=${wallAddress()}>${texts.wall}</a></span></footer>
    ${signage && html`<${SignageLinks} groups=${groups} onClose=${() => setSignage(false)} />`}`;
}

// People is the list, and the dialog of the person who was chosen.
function People({ me, live, mine, sections, now }) {
  const [chosen, setChosen] = useState("");
  const open = useCallback((user) => setChosen(user), []);
  const person = live.people.get(chosen);
  return html`<${List} sections=${sections} now=${now} stale=${live.stale} keep=${Boolean(person)} onOpen=${open} />
    ${person && html`<${Details} key=${chosen} me=${me} person=${person} now=${now} mine=${mine} onClose=${() => setChosen("")} />`}`;
}

function problemOf({ state, problem }) {
  return state === "" && problem ? texts.refused(problem) : problem;
}

function titleOf(title, by) {
  if (by === "status") return texts.kinds[title];
  return by === "group" ? title || texts.noGroup : "";
}

function emptyWords(query, live, mine) {
  if (live.people.size === 0) return texts.nobody;
  return query.contacts && mine.contacts.size === 0 ? texts.noContacts : texts.none;
}

function wallAddress() {
  return "/" + (location.search ? location.search + "&wall" : "?wall");
}

// useQuery is what the address selects. Each change is a step that "back" undoes; what one
// types is one step.
function useQuery() {
  const [query, setQuery] = useState(() => parse(location.search));
  const typing = useRef(false);
  useEffect(() => {
    const moved = () => setQuery(parse(location.search));
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  const change = useCallback((next, typed = false) => {
    const address = location.pathname + format(next, location.search);
    if (typed && typing.current) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    typing.current = typed;
    setQuery(next);
  }, []);
  return [query, change];
}

// useLive connects the board as long as it is shown. Changes that arrive together are drawn
// together, at most once a frame. A wall tells nobody, so it leaves the user's watches alone.
function useLive(me, query, leave, mine) {
  const [, draw] = useState(0);
  const frame = useRef(0);
  const on = useRef({});
  const live = useRef(null);
  on.current = {
    change: () => {
      frame.current ||= requestAnimationFrame(() => {
        frame.current = 0;
        draw((n) => n + 1);
      });
    },
    watch: ({ user, status }) => {
      const name = live.current.people.get(user)?.name || user;
      mine.fired(user);
      toast(texts.fired(name, word(status)));
      notify(name, word(status));
    },
    ended: leave,
  };
  live.current ??= new Live(client, {
    change: () => on.current.change(),
    watch: (watch) => on.current.watch(watch),
    ended: (why) => on.current.ended(why),
  }, { group: query.only, watches: !me.account_level && !query.wall });

  useEffect(() => {
    const { current } = live;
    const hurry = () => current.hurry();
    const seen = () => document.visibilityState === "visible" && hurry();
    const hidden = () => current.stop();
    const shown = (event) => event.persisted && current.start();
    const listeners = [[window, "online", hurry], [document, "visibilitychange", seen], [window, "pagehide", hidden], [window, "pageshow", shown]];
    for (const [target, type, f] of listeners) target.addEventListener(type, f);
    current.start();
    return () => {
      for (const [target, type, f] of listeners) target.removeEventListener(type, f);
      current.stop();
      cancelAnimationFrame(frame.current);
    };
  }, []);
  return live.current;
}

mount(Page);
