// What a presence looks like: words, shapes and times. No state, no requests.

const SVG = "http://www.w3.org/2000/svg";

// Each status has a shape of its own, so that none is distinguished by colour alone.
// The marks are paths in a square of 24.
const looks = {
  offline: ["Offline", "M8.5 8.5l7 7M15.5 8.5l-7 7"],
  available: ["Available", "M7 12.5l3.5 3.5L17 8.5"],
  away: ["Away", "M12 6.5V12l4 2.5"],
  busy: ["Busy", "M12 6.5v7M12 17v.1"],
  do_not_disturb: ["Do not disturb", "M7 12h10"],
  in_calendar_event: ["In a calendar event", "M7.5 8h9v8.5h-9zM7.5 11h9M10 6.5V8M14 6.5V8"],
  in_meeting: ["In a meeting", "M6.5 9h7v6h-7zM13.5 11.5l4-2v5l-4-2"],
  presenting: ["Presenting", "M6.5 7.5h11v7h-11zM12 14.5v3M9.5 17.5h5"],
  on_call: ["On a call", "M9 7c-2 4 4 10 8 8l-1-2.500-2 .5c-1.500-.7-2.300-1.500-3-3l.5-2z"],
  out_of_office: ["Out of office", "M7 12h10M13 8l4 4-4 4"],
};

// A status that a newer server knows is shown by its name.
export function word(status) {
  return looks[status]?.[0] ?? String(status).replaceAll("_", " ");
}

export function icon(status) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true"); // the word is next to it
  svg.dataset.status = status;
  const round = document.createElementNS(SVG, "circle");
  round.setAttribute("class", status === "offline" ? "ring" : "disc");
  for (const [name, value] of [["cx", 12], ["cy", 12], ["r", status === "offline" ? 10 : 11]]) {
    round.setAttribute(name, value);
  }
  const mark = document.createElementNS(SVG, "path");
  mark.setAttribute("class", "mark");
  mark.setAttribute("d", looks[status]?.[1] ?? "M12 12v.1");
  svg.append(round, mark);
  return svg;
}

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// clock is a time of day, with the date unless it is today.
export function clock(time) {
  const at = new Date(time);
  return (at.toDateString() === new Date().toDateString() ? hour : day).format(at);
}

// "since 14:05, until 15:00", with what is known of it.
export function times(presence) {
  const parts = [];
  if (presence.since) parts.push("since " + clock(presence.since));
  if (presence.until) parts.push("until " + clock(presence.until));
  return parts.join(", ");
}

export function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
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

// fill shows a person in a list item.
export function fill(line, name, presence, groups = []) {
  const text = document.createElement("div");
  text.append(element("div", "name", name), element("div", "word", word(presence.status)));
  if (presence.note) text.append(element("div", "note", presence.note));
  const details = [times(presence), groups.join(", ")].filter(Boolean).join(" · ");
  if (details) text.append(element("div", "quiet", details));
  line.dataset.user = presence.user;
  line.dataset.status = presence.status;
  line.replaceChildren(icon(presence.status), text);
}
