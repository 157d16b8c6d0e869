// The parts that pages are made of. They know no page, and send no requests but those that
// they are given.

import { h } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import htm from "htm";

import { following } from "./client.js";
import { ago, exact, hue, initials, marks, word } from "./look.js";
import texts from "./texts/common.js";

// html makes elements of a template. What is inserted is text, never markup.
export const html = htm.bind(h);

// ---- Presence

// Icon is the shape and the colour of a status. A word stands beside it, or label is given.
export function Icon({ status, label }) {
  const ring = status === "offline";
  return html`<svg class="icon" viewBox="0 0 24 24" data-status=${status} aria-hidden=${label ? undefined : "true"} role=${label ? "img" : undefined} aria-label=${label}>
    <circle class=${ring ? "ring" : "disc"} cx="12" cy="12" r=${ring ? 10 : 11} />
    <path class="mark" d=${marks[status] ?? "M12 12v.1"} />
  </svg>`;
}

// Avatar is a person's initials, with the status at its corner if that is given.
export function Avatar({ name, status }) {
  return html`<span class="avatar" aria-hidden="true" data-hue=${Math.floor(hue(name) / 30)}>${initials(name)}${status && html`<${Icon} status=${status} />`}</span>`;
}

// Status is a status as icon and word.
export function Status({ status }) {
  return html`<span class="status"><${Icon} status=${status} />${word(status)}</span>`;
}

// ---- Times

// useNow draws the component again every so many milliseconds, and returns the time.
export function useNow(every = 30_000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

// Ago is a time relative to now, which keeps counting.
export function Ago({ at }) {
  const now = useNow();
  return at ? html`<time datetime=${at} title=${exact(at)}>${ago(at, now)}</time>` : "–";
}

// ---- Messages

// Alert says what failed, and what to do. Nothing is shown for "".
export function Alert({ children, id = "problem" }) {
  return html`<p id=${id} class="alert" role="alert" hidden=${!children}>${children}</p>`;
}

// Empty stands where a list has nothing.
export function Empty({ children = texts.nothing }) {
  return html`<p class="empty quiet">${children}</p>`;
}

// Progress is how far long work is. Without a value, it is under way.
export function Progress({ label, value, max = 1 }) {
  return html`<div class="progress"><label>${label}<progress value=${value} max=${max}></progress></label></div>`;
}

const toasts = { list: [], show: null };

// toast shows a short message for some seconds. Screen readers read it.
export function toast(text) {
  const message = { text };
  toasts.list = [...toasts.list, message];
  toasts.show?.(toasts.list);
  setTimeout(() => {
    toasts.list = toasts.list.filter((m) => m !== message);
    toasts.show?.(toasts.list);
  }, 5_000);
}

export function Toasts() {
  const [list, setList] = useState(toasts.list);
  toasts.show = setList;
  return html`<div class="toasts" role="status">${list.map((m) => html`<p>${m.text}</p>`)}</div>`;
}

// ---- Actions

// useAction runs requests one at a time: run(f) reports whether f succeeded; while another one
// runs, it ignores f, such as the second press of a button. later(key, f) then runs f after
// that one; of several with the same key, only the last. problem is the words of the last
// failure since somebody began; busy is true until nothing is left to run.
export function useAction() {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const running = useRef(false);
  const waiting = useRef(new Map());
  const perform = useCallback(async (f) => {
    try {
      await f();
      return true;
    } catch (err) {
      setProblem(err.message);
      return false;
    }
  }, []);
  const run = useCallback(async (f) => {
    if (running.current) return false;
    running.current = true;
    setBusy(true);
    setProblem("");
    const done = await perform(f);
    while (waiting.current.size) await perform(take(waiting.current));
    running.current = false;
    setBusy(false);
    return done;
  }, []);
  const later = useCallback((key, f) => {
    if (!running.current) return run(f);
    waiting.current.delete(key); // it goes to the end
    waiting.current.set(key, f);
  }, []);
  return { run, later, busy, problem, setProblem };
}

// take removes the first value of a map.
function take(map) {
  const [[key, value]] = map;
  map.delete(key);
  return value;
}

// Dialog is shown as long as it is in the page. onClose is called when the user leaves it.
export function Dialog({ title, onClose, children, wide }) {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => opener?.focus?.();
  }, []);
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onClose=${onClose}>
    <header><h2 id="dialog-title">${title}</h2>
    <button type="button" class="plain" aria-label=${texts.close} onClick=${() => dialog.current.close()}>✕</button></header>
    ${children}
  </dialog>`;
}

// Confirm asks before something that cannot be undone. action is the word on its button;
// run does it, and the dialog stays open if that fails.
export function Confirm({ title, children, action, run, onClose }) {
  const act = useAction();
  const decide = async () => (await act.run(run)) && onClose();
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <div>${children}</div>
    <${Alert} id="confirm-problem">${act.problem}<//>
    <footer><button type="button" onClick=${onClose}>${texts.cancel}</button>
    <button type="button" class="danger" disabled=${act.busy} onClick=${decide}>${action}</button></footer>
  <//>`;
}

// Copy is a button that copies text.
export function Copy({ text, label = texts.copy }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 2_000);
  };
  return html`<button type="button" class="small" onClick=${copy}>${done ? texts.copied : label}</button>`;
}

// Secret is a value that is shown once, with a button to copy it.
export function Secret({ label, value }) {
  return html`<p class="secret"><span class="quiet">${label}</span> <code>${value}</code> <${Copy} text=${value} /></p>`;
}

// Menu is a button with a list of further actions: [{ label, run, danger }].
export function Menu({ label, items }) {
  const menu = useRef(null);
  const choose = (run) => () => {
    menu.current.open = false;
    run();
  };
  // If the menu is removed with the focus in it, the ref is empty already.
  const leave = ({ key, type, relatedTarget, currentTarget }) => {
    if (key === "Escape" || (type === "focusout" && !currentTarget.contains(relatedTarget))) currentTarget.open = false;
  };
  return html`<details class="menu" ref=${menu} onKeyDown=${leave} onFocusOut=${leave}><summary aria-label=${label} title=${label}>⋯</summary>
    <div class="items">${items.filter(Boolean).map((i) => html`<button type="button" class=${i.danger ? "plain danger" : "plain"} onClick=${choose(i.run)}>${i.label}</button>`)}</div>
  </details>`;
}

// Field is a labelled input. children is the input, whose id is given.
export function Field({ id, label, hint, children }) {
  return html`<div class="field"><label for=${id}>${label}</label>${children}${hint && html`<p class="quiet" id=${id + "-hint"}>${hint}</p>`}</div>`;
}

// ---- Lists

// useList reads a list of the API page by page. key is the member that has the rows. It
// starts anew when the path or the query changes; reload does that too.
export function useList(client, path, key, query = {}) {
  const [state, setState] = useState({ rows: [], loading: true, problem: "", more: false });
  const [round, setRound] = useState(0);
  const pages = useRef(null);
  const asked = JSON.stringify(query);

  const next = useCallback(async (iterator, rows) => {
    setState((s) => ({ ...s, loading: true, problem: "" }));
    try {
      let page;
      do {
        page = (await iterator.next()).value;
        if (pages.current !== iterator) return; // another list was asked for
      } while (!page[key].length && following(page));
      setState({ rows: [...rows, ...page[key]], loading: false, problem: "", more: Boolean(following(page)), page });
    } catch (err) {
      if (pages.current === iterator) setState((s) => ({ ...s, loading: false, problem: err.message, more: false }));
    }
  }, [key]);

  useEffect(() => {
    const iterator = client.pages(path, JSON.parse(asked));
    pages.current = iterator;
    next(iterator, []);
    return () => {
      pages.current = null;
    };
  }, [client, path, asked, round, next]);

  return { ...state, loadMore: () => next(pages.current, state.rows), reload: () => setRound((n) => n + 1), change: (rows) => setState((s) => ({ ...s, rows })) };
}

// Table shows the rows of a list. A column is { name, title, cell(row), narrow }: on a phone,
// each row is a card with the titles beside the cells. list is from useList.
export function Table({ label, columns, list, id = (row) => row.id, empty }) {
  const { rows, loading, problem, more, loadMore } = list;
  return html`<${Alert} id="list-problem">${problem}<//>
    ${!loading && !problem && rows.length === 0 && html`<${Empty}>${empty}<//>`}
    ${rows.length > 0 && html`<div class="table"><table aria-label=${label}>
      <thead><tr>${columns.map((c) => html`<th scope="col" class=${c.name}>${c.title}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${id(row)} data-id=${id(row)}>${columns.map((c) => html`<td class=${c.name} data-title=${c.title}>${c.cell(row)}</td>`)}</tr>`)}</tbody>
    </table></div>`}
    ${loading && html`<p class="quiet" role="status">${texts.loading}</p>`}
    ${more && !loading && html`<p><button type="button" onClick=${loadMore}>${texts.more}</button></p>`}`;
}

// useDelayed returns value once it has not changed for some milliseconds.
export function useDelayed(value, after = 250) {
  const [delayed, setDelayed] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setDelayed(value), after);
    return () => clearTimeout(timer);
  }, [value, after]);
  return delayed;
}
