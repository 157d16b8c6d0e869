// The search in the index of the documentation. No state, no requests.

const MOST = 12;
const AROUND = 70; // characters of the text before and after the first word found

// find returns the sections that have every word, the best first: words in headings count more
// than words in the text.
export function find(index, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const found = [];
  for (const page of index.pages) {
    for (const section of page.sections) {
      const score = rate(page, section, words);
      if (score) found.push({ page, section, score, excerpt: excerpt(section.text, words) });
    }
  }
  return found.sort((a, b) => b.score - a.score).slice(0, MOST);
}

function rate(page, section, words) {
  let score = 0;
  for (const word of words) {
    const inHeading = section.heading.toLowerCase().includes(word);
    const inTitle = page.title.toLowerCase().includes(word);
    const inText = section.text.toLowerCase().includes(word);
    if (!inHeading && !inTitle && !inText) return 0;
    score += (inHeading ? 8 : 0) + (inTitle ? 4 : 0) + (inText ? 1 : 0);
  }
  return score + (section.heading.toLowerCase() === words.join(" ") ? 20 : 0);
}

// excerpt is the text around the first word that is found, in three parts: before, the word,
// after.
function excerpt(text, words) {
  const lower = text.toLowerCase();
  const at = words.map((w) => lower.indexOf(w)).filter((i) => i >= 0).sort((a, b) => a - b)[0];
  if (at === undefined) return [text.slice(0, 2 * AROUND), "", ""];
  const length = words.find((w) => lower.startsWith(w, at)).length;
  const from = Math.max(0, at - AROUND);
  return [(from ? "…" : "") + text.slice(from, at), text.slice(at, at + length), text.slice(at + length, at + length + AROUND) + "…"];
}
