// The history of days as pictures: where each span stands. Times are numbers in ms.

// bars are the spans of a day as fractions of its length: { status, from, to, left, width }.
export function bars(day) {
  const [begin, end] = bounds(day);
  return day.spans.map((span) => {
    const [from, to] = [Date.parse(span.from), Date.parse(span.to)];
    return { status: span.status, from, to, left: (from - begin) / (end - begin), width: (to - from) / (end - begin) };
  });
}

// bounds are where a day begins and ends. It has 23 or 25 hours when the clocks change.
export function bounds(day) {
  const begin = new Date(day.from);
  const [year, month, date] = day.date.split("-").map(Number);
  return [begin.getTime(), new Date(year, month - 1, date + 1).getTime()];
}

// hours are the marks of a day's scale, every few hours on its clocks: { at, left }.
export function hours(day, every = 3) {
  const [begin, end] = bounds(day);
  const [year, month, date] = day.date.split("-").map(Number);
  const marks = [];
  for (let hour = 0; hour <= 24; hour += every) {
    const at = new Date(year, month - 1, date, hour).getTime();
    marks.push({ hour, left: Math.min(Math.max((at - begin) / (end - begin), 0), 1) });
  }
  return marks;
}

// known are the statuses of some durations, the longest first, without "unknown":
// [[status, ms], …].
export function known(durations) {
  return Object.entries(durations).filter(([status, ms]) => status !== "unknown" && ms > 0).sort(([, a], [, b]) => b - a);
}
