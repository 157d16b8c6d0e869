// Where people stand on a board of thousands: lines of equal height, so that those in view
// are found without measuring. Lengths are in pixels.

// arrangeLines puts sections into lines of so many columns. Each line is
// { top, height, first, people }: first is the number of people before it. A heading has no
// people, but title, count and the number of its section.
export function arrangeLines(sections, columns, { row, gap, heading }) {
  const lines = [];
  let top = 0;
  let first = 0; // the number of people before the line
  const add = (height, line) => {
    lines.push({ top, height, ...line });
    top += height + gap;
  };
  sections.forEach(({ title, people }, section) => {
    if (sections.length > 1 || title) add(heading, { section, title, count: people.length, first, people: [] });
    for (let i = 0; i < people.length; i += columns) {
      add(row, { first, people: people.slice(i, i + columns) });
      first += Math.min(columns, people.length - i);
    }
  });
  return { lines, height: Math.max(0, top - gap), total: first };
}

// inView is the lines between two heights: from the first to before the second number.
export function inView(lines, top, bottom) {
  return [firstAfter(lines, top), firstAt(lines, bottom)];
}

const firstAfter = (lines, y) => search(lines, (line) => line.top + line.height > y);
const firstAt = (lines, y) => search(lines, (line) => line.top >= y);

// search finds the first line for which holds is true. It is true for all after that.
function search(lines, holds) {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(lines[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

// lineOf is the number of the line with the person at an index.
export function lineOf(lines, index) {
  return search(lines, (line) => line.first + line.people.length > index);
}

// columnsIn is how many cards stand side by side, and how wide each is.
export function columnsIn(width, least, gap) {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  return { columns, card: (width - gap * (columns - 1)) / columns };
}
