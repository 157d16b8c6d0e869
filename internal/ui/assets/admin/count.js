// The size of lists, which the API gives only page by page.

import { client } from "../session.js";

const PAGE = 1_000;

// countList counts the items of a list, at most so many pages of it. more is true if there
// are others.
export async function countList(path, key, { query, pages = 20, onPage = () => {} } = {}) {
  let count = 0;
  let read = 0;
  for await (const page of client.pages(path, { ...query, limit: PAGE })) {
    count += page[key].length;
    onPage(page[key]);
    if (++read === pages) return { count, more: Boolean(page.next ?? page.next_page_token) };
  }
  return { count, more: false };
}
