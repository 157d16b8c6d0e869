// Exports of lists that the API does not export itself.

import { saveCSV } from "../download.js";
import { client } from "../session.js";

const PAGE = 1_000;

// exportList saves a whole list of the API as a table. A column is [title, value of a row],
// and keep says which rows are saved.
export async function exportList({ path, key, query, columns, name, keep = () => true }) {
  const rows = [];
  for await (const page of client.pages(path, { ...query, limit: PAGE })) rows.push(...page[key].filter(keep));
  saveCSV([columns.map(([title]) => title), ...rows.map((row) => columns.map(([, value]) => value(row)))], name);
}
