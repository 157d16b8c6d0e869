// The people of a board as a grid of cards. Only those in view are in the document, so that
// thousands cost no more than a screen of them.

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import { html } from "../components.js";
import texts from "../texts/board.js";
import { arrangeLines, columnsIn, inView, lineOf } from "./layout.js";
import { Row } from "./row.js";

const LEAST = 18.75; // rem, the width of a card
const SIZES = { row: 5.25, gap: 0.75, heading: 2.25 }; // rem
const AHEAD = 400; // px above and below the view that are in the document as well

// List shows sections of people. onOpen(user) is called for the one that is chosen, whose card
// is the current one; keep is whether it must stay in the document.
export function List({ sections, now, stale, keep, onOpen }) {
  const list = useRef(null);
  const rem = useMemo(() => parseFloat(getComputedStyle(document.documentElement).fontSize), []);
  const width = useWidth(list);
  const gap = SIZES.gap * rem;
  const { columns, card } = columnsIn(width, LEAST * rem, gap);
  const { lines, height, total } = useMemo(
    () => arrangeLines(sections, columns, { row: SIZES.row * rem, gap, heading: SIZES.heading * rem }),
    [sections, columns, rem],
  );
  const [from, to] = useView(list, lines);
  const keys = useKeys(list, lines, total);

  // The rows are one list, in which each keeps its element when the lines move.
  const shown = lines.slice(from, to);
  // The card that has the focus stays in the document, wherever one scrolls.
  const kept = (keep || keys.focused) && total > 0 ? lineOf(lines, keys.current) : -1;
  if (kept >= 0 && (kept < from || kept >= to)) shown.push(lines[kept]);
  return html`<ul id="people" ref=${list} class=${stale ? "stale" : ""} aria-label=${texts.people} style=${{ height: height + "px" }}
    onKeyDown=${keys.onKeyDown} onFocusIn=${keys.onFocusIn} onFocusOut=${keys.onFocusOut}>
    ${shown.flatMap((line) => (line.people.length === 0 ? heading(line) : rows(line)))}
  </ul>`;

  function heading({ section, top, title, count }) {
    return html`<li key=${"section " + section} class="section" style=${{ transform: `translateY(${top}px)` }}>
      <h2>${title} <span class="count">${count}</span></h2></li>`;
  }

  function rows({ top, first, people }) {
    return people.map((person, column) => {
      const index = first + column;
      const place = { width: card + "px", transform: `translate(${column * (card + gap)}px, ${top}px)` };
      return html`<${Row} key=${person.user + (sections.length > 1 ? " " + index : "")} person=${person} index=${index} total=${total} now=${now}
        place=${place} current=${index === keys.current} onOpen=${onOpen} />`;
    });
  }
}

// useWidth is the width of an element, which follows the window.
function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    setWidth(element.current.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.current?.clientWidth ?? 0));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

// useView is the numbers of the lines in view. It is computed once a frame while one scrolls.
function useView(list, lines) {
  const [, draw] = useState(0);
  const drawn = useRef("");
  const between = useCallback(() => {
    if (!list.current) return [0, 0];
    const { top } = list.current.getBoundingClientRect();
    return inView(lines, -top - AHEAD, innerHeight - top + AHEAD);
  }, [lines]);
  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (String(between()) !== drawn.current) draw((n) => n + 1);
      });
    };
    look(); // what is above the list may have changed
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [between]);
  const view = between();
  drawn.current = String(view);
  return view;
}

// useKeys moves through the people with the arrow keys. One card at a time can be reached with
// the tabulator key: that of the current person, wherever the person moves.
function useKeys(list, lines, total) {
  const [at, setAt] = useState({ index: 0, user: "" });
  const [focused, setFocused] = useState(false);
  const wanted = useRef(""); // the user whose card is to get the focus once it is drawn
  const drawing = useRef(false);
  const current = useMemo(() => currentIndex(lines, at, total), [lines, at, total]);
  drawing.current = true;
  useLayoutEffect(() => {
    drawing.current = false;
  });

  const move = (index) => {
    const line = lines[lineOf(lines, index)];
    const { top } = list.current.getBoundingClientRect();
    const bar = document.querySelector(".filters")?.getBoundingClientRect().bottom ?? 0;
    const above = top + line.top - Math.max(0, bar) - 8;
    const below = top + line.top + line.height + 8 - innerHeight;
    if (above < 0) scrollBy(0, above);
    else if (below > 0) scrollBy(0, below);
    wanted.current = line.people[index - line.first].user;
    setAt({ index, user: wanted.current });
    setFocused(true);
  };
  useEffect(() => {
    // A card that moves in the document loses the focus.
    const lost = focused && document.activeElement === document.body;
    const due = wanted.current !== "" && wanted.current === at.user; // or a later render is
    if (!due && !lost) return;
    wanted.current = "";
    list.current.querySelector(`[data-index="${current}"]`)?.focus({ preventScroll: true });
  });

  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || total === 0) return;
    const targets = {
      ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: total - 1,
      ArrowUp: vertical(lines, current, -1), ArrowDown: vertical(lines, current, 1),
    };
    const next = targets[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0 && next < total) move(next);
  };
  const onFocusIn = (event) => {
    const card = event.target.closest("[data-index]");
    if (!card) return;
    setAt({ index: Number(card.dataset.index), user: card.parentElement.dataset.user });
    setFocused(true);
  };
  const onFocusOut = (event) => {
    if (!drawing.current && !event.currentTarget.contains(event.relatedTarget)) setFocused(false);
  };
  return { current, focused, onKeyDown, onFocusIn, onFocusOut };
}

// currentIndex is where the current person is now, or who is there instead.
function currentIndex(lines, { index, user }, total) {
  const there = Math.max(0, Math.min(index, total - 1));
  if (!user || total === 0) return there;
  const line = lines[lineOf(lines, there)];
  if (line.people[there - line.first].user === user) return there;
  for (const { first, people } of lines) {
    const column = people.findIndex((person) => person.user === user);
    if (column >= 0) return first + column;
  }
  return there;
}

// vertical is the index above (-1) or below (1) another, in the same column if there is one.
function vertical(lines, index, step) {
  const from = lineOf(lines, index);
  const column = index - lines[from].first;
  for (let i = from + step; i >= 0 && i < lines.length; i += step) {
    const { first, people } = lines[i];
    if (people.length > 0) return first + Math.min(column, people.length - 1);
  }
  return -1;
}
