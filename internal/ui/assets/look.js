// What a presence looks like: words, shapes, colours and times. No state, no requests.

import texts from "./texts/common.js";

// Each status has a shape of its own, so that none is distinguished by colour alone.
// The marks are paths in a square of 24.
export const marks = {
  offline: "M8.5 8.5l7 7M15.5 8.5l-7 7",
  available: "M7 12.5l3.5 3.5L17 8.5",
  away: "M12 6.5V12l4 2.5",
  busy: "M12 6.5v7M12 17v.1",
  do_not_disturb: "M7 12h10",
  in_calendar_event: "M7.5 8h9v8.5h-9zM7.5 11h9M10 6.5V8M14 6.5V8",
  in_meeting: "M6.5 9h7v6h-7zM13.5 11.5l4-2v5l-4-2",
  presenting: "M6.5 7.5h11v7h-11zM12 14.5v3M9.5 17.5h5",
  on_call: "M9 7c-2 4 4 10 8 8l-1-2.500-2 .5c-1.500-.7-2.300-1.500-3-3l.5-2z",
  out_of_office: "M7 12h10M13 8l4 4-4 4",
};

// A status that a newer server knows is shown by its name.
export function word(status) {
  return texts.statuses[status] ?? String(status).replaceAll("_", " ");
}

// kind is one of four: most people only ask whether somebody can be reached.
const kinds = { available: "available", away: "away", out_of_office: "away", offline: "offline" };
export function kind(status) {
  return kinds[status] ?? "busy";
}

// rank orders people by how easily they can be reached.
export function rank(status) {
  return ["available", "busy", "away", "offline"].indexOf(kind(status));
}

// initials are the first letters of the first and the last word of a name.
export function initials(name) {
  const words = String(name).trim().split(/[\s@._-]+/u).filter(Boolean);
  const picked = words.length > 1 ? [words[0], words.at(-1)] : words;
  return picked.map((w) => [...w][0].toLocaleUpperCase()).join("") || "?";
}

// hue is a colour for a name, 0 to 359, the same on every page.
export function hue(name) {
  let sum = 0;
  for (const c of String(name)) sum = (sum * 31 + c.codePointAt(0)) % 360;
  return sum;
}

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });

// clock is a time of day in the reader's zone, with the date unless it is today.
export function clock(time) {
  const at = new Date(time);
  return (at.toDateString() === new Date().toDateString() ? hour : day).format(at);
}

// hourMinute is the time of day in the reader's zone.
export function hourMinute(time) {
  return hour.format(new Date(time));
}

// exact is a time with everything, for tooltips and tables.
export function exact(time) {
  return full.format(new Date(time));
}

const units = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

// ago is how far a time is from now, such as "5 min. ago" or "in 2 hr.".
export function ago(time, now = Date.now()) {
  const seconds = Math.round((new Date(time) - now) / 1_000);
  const [unit, size] = units.find(([, s]) => Math.abs(seconds) >= s) ?? units.at(-1);
  return relative.format(Math.trunc(seconds / size), unit);
}

// span is a length of time, such as "1:05" (hours and minutes) or "3 d".
export function span(milliseconds) {
  const minutes = Math.max(0, Math.floor(milliseconds / 60_000));
  if (minutes < 1) return "< 1 min";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 1_440) return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
  return `${Math.floor(minutes / 1_440)} d`;
}

// times is "since 14:05, until 15:00", with what is known of it.
export function times(presence) {
  return [presence.since && texts.since(clock(presence.since)), presence.until && texts.until(clock(presence.until))].filter(Boolean).join(", ");
}

// localTimes has the instants in a text of the API, such as 2026-11-29T12:35:40.713Z, in the
// reader's zone.
export function localTimes(text) {
  return text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, clock);
}
