// The user's watches: requests to be told when somebody has a status.

import { useEffect, useState } from "preact/hooks";

import { client } from "../session.js";

// useWatches is { list, add(watch), cancel(id), forget(id) }.
export function useWatches() {
  const [list, setList] = useState([]);
  const forget = (id) => setList((l) => l.filter((w) => w.id !== id));
  useEffect(() => {
    client.get("/v1/watches", { limit: 100 }).then(
      (page) => setList(page.watches.filter((w) => !w.fired)),
      () => {}, // the token may not: there is no list
    );
  }, []);
  return {
    list,
    forget,
    add: (watch) => setList((l) => [...l, watch]),
    async cancel(id) {
      await client.delete("/v1/watches/" + encodeURIComponent(id));
      forget(id);
    },
  };
}
