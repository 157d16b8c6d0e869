// The board for a display on a wall: large, without controls, and with a clock. If people do
// not fit, it shows one page of them after another.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { html, useNow } from "../components.js";
import { hourMinute } from "../look.js";
import texts from "../texts/board.js";
import { columnsIn } from "./layout.js";
import { Card } from "./row.js";

const TURNING = 12_000; // ms that a page is shown
const SHIFTING = 60_000; // ms after which everything moves a little, so that nothing burns in
const SHIFTS = [[0, 0], [6, 3], [12, 0], [9, 8], [3, 11], [0, 6]]; // px

// Wall shows people in order. connection is the element that says whether it is live.
export function Wall({ title, people, stale, connection, now }) {
  const grid = useRef(null);
  const fits = useFitting(grid);
  const pages = Math.max(1, Math.ceil(people.length / fits));
  const page = Math.floor(useNow(TURNING) / TURNING) % pages;
  const [x, y] = SHIFTS[Math.floor(now / SHIFTING) % SHIFTS.length];
  useWholeScreen();
  return html`<div class="wall" style=${{ transform: `translate(${x}px, ${y}px)` }}>
    <header><h1 id="title">${title}</h1>${pages > 1 && html`<span class="quiet" id="page">${texts.page(page + 1, pages)}</span>`}${connection}<${Clock} /></header>
    <ul id="people" ref=${grid} class=${stale ? "stale" : ""} aria-label=${texts.people}>
      ${people.slice(page * fits, (page + 1) * fits).map((person) => html`<li key=${person.user} data-user=${person.user} data-status=${person.presence.status}>
        <${Card} person=${person} now=${now} brief /></li>`)}
    </ul>
  </div>`;
}

function Clock() {
  const now = useNow(1_000);
  return html`<time id="clock" datetime=${new Date(now).toISOString()}>${hourMinute(now)}</time>`;
}

// useFitting is how many cards fit into the grid, at the sizes of the style sheet.
function useFitting(grid) {
  const [fits, setFits] = useState(1);
  useLayoutEffect(() => {
    const measure = () => {
      const style = getComputedStyle(grid.current);
      const [least, row, gap] = ["--least", "--row", "--gap"].map((name) => length(grid.current, style.getPropertyValue(name)));
      const { columns } = columnsIn(grid.current.clientWidth, least, gap);
      setFits(columns * Math.max(1, Math.floor((grid.current.clientHeight + gap) / (row + gap))));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(grid.current);
    return () => observer.disconnect();
  }, []);
  return fits;
}

// length is a length of the style sheet, in units of the wall's letters, in pixels.
function length(element, value) {
  return parseFloat(value) * parseFloat(getComputedStyle(element).fontSize);
}

// useWholeScreen gives the page to the wall, and keeps the display on where that is possible.
function useWholeScreen() {
  useEffect(() => {
    document.body.classList.add("on-wall");
    let lock = null;
    const keepOn = async () => {
      if (document.visibilityState !== "visible") return;
      lock = await navigator.wakeLock?.request("screen").catch(() => null); // it may be refused, such as on battery
    };
    keepOn();
    document.addEventListener("visibilitychange", keepOn);
    return () => {
      document.body.classList.remove("on-wall");
      document.removeEventListener("visibilitychange", keepOn);
      lock?.release();
    };
  }, []);
}
