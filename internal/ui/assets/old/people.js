// Reads all users of the account from GET /v1/presence.

import { request } from "./stream.js";

const PAGE = 1_000;

// everyone calls each with the presence and the name of every active user, or of the
// members of a group. It stops when wanted returns false.
export async function everyone(token, group, wanted, each) {
  let page = "";
  do {
    const query = new URLSearchParams({ limit: PAGE, ...(group && { group }), ...(page && { page_token: page }) });
    const found = await request(token, "GET", "/v1/presence?" + query);
    if (!wanted()) return;
    for (const p of found.presences) each(p, p.display_name || p.email || p.user);
    page = found.next_page_token;
  } while (page);
}
