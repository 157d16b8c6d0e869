// A small chart of the last measurements.

import { html } from "../components.js";

const WIDTH = 200;
const HEIGHT = 48;

// points are the places of values in the chart, from left to right. The newest is at the
// right edge, and capacity values fill the width.
export function points(values, capacity, most) {
  const step = WIDTH / (capacity - 1);
  const left = WIDTH - (values.length - 1) * step;
  return values.map((value, i) => [left + i * step, HEIGHT - (HEIGHT - 2) * Math.min(1, value / (most || 1)) - 1]);
}

// Sparkline draws values. label says in words what it shows.
export function Sparkline({ values, capacity, label }) {
  const line = points(values, capacity, Math.max(...values, 0));
  const path = line.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const area = line.length > 1 ? `${line[0][0].toFixed(1)},${HEIGHT} ${path} ${WIDTH},${HEIGHT}` : "";
  return html`<svg class="sparkline" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label} data-points=${values.length}>
    <polygon points=${area} /><polyline points=${path} vector-effect="non-scaling-stroke" /></svg>`;
}
