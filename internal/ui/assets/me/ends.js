// When a status or a note ends: what users choose, as times.

const MORNING = 9; // o'clock

const units = { minutes: 60, hours: 3_600, days: 86_400 };

// chosen is what a form says of the end, as members of a claim or a note: {} for the default
// end, null if the form lacks it or it is past. lasts is a number of minutes or a word; at
// is the value of a datetime-local input, count and unit a length of time.
export function chosen({ lasts, at, count, unit }, now = new Date()) {
  if (lasts === "") return {};
  const until = endOf({ lasts, at, count, unit }, now);
  return until > now ? { until: until.toISOString() } : null;
}

// withoutNote is a form after its note was sent, unless the user has typed another one since.
export function withoutNote(form, sent) {
  return form.note === sent ? { ...form, note: "" } : form;
}

function endOf({ lasts, at, count, unit }, now) {
  switch (lasts) {
    case "today":
      return dayAt(now, 0, 23, 59, 59);
    case "tomorrow":
      return tomorrowMorning(now);
    case "at":
      return new Date(at || NaN);
    case "custom":
      return new Date(now.getTime() + Number(count) * (units[unit] ?? NaN) * 1_000);
    default:
      return new Date(now.getTime() + Number(lasts) * 60_000);
  }
}

export function tomorrowMorning(now = new Date()) {
  return dayAt(now, 1, MORNING);
}

// dayAt is a time of a day that is some days after another, on the clocks of the reader.
export function dayAt(day, days, hours = 0, minutes = 0, seconds = 0) {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days, hours, minutes, seconds);
}

// dateOf is the value of a date input, such as "2026-03-29", for a time.
export function dateOf(time) {
  const two = (n) => String(n).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

// range is the time of the days from first to last, both included, which are values of date
// inputs: { since, until }, without since if it begins today. It is null if it is past or
// ends before it begins.
export function range(first, last, now = new Date()) {
  const [begin, end] = [midnight(first, 0), midnight(last, 1)];
  if (!(begin < end) || end <= now) return null;
  return { ...(begin > now && { since: begin.toISOString() }), until: end.toISOString() };
}

function midnight(date, after) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day + after);
}
