// Files that a page gives to the reader: what the API exports, or what the page has itself.

import { client } from "./session.js";

// download saves the answer of a GET under the name that the server gives it.
export async function download(path, query) {
  const answer = await client.fetch("GET", path, { query, timeout: 0 });
  const [, name] = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition")) ?? [];
  save(await answer.blob(), name ?? path.split("/").pop());
}

// saveCSV saves rows of values as a table.
export function saveCSV(rows, name) {
  save(new Blob([rows.map((row) => row.map(cell).join(",") + "\r\n").join("")], { type: "text/csv" }), name);
}

// cell has an apostrophe before a text that a spreadsheet program may take for a formula, by
// the same rule as the exports of the server (package usersheet).
function cell(value) {
  const text = String(value ?? "");
  const safe = /^'*[=+\-@＝＋－＠\t\r\n ]/.test(text) ? "'" + text : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
