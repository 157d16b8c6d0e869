// The explanation of the user's presence, read again when the presence changes.

import { useCallback, useEffect, useState } from "preact/hooks";

import { client } from "../session.js";

// useExplanation is { value, reload }; value is null until the first answer.
export function useExplanation(revision) {
  const [value, setValue] = useState(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (revision === undefined) return undefined;
    const asked = new AbortController();
    client.request("GET", "/v1/users/me/presence/explain", { query: { connected: true }, signal: asked.signal }).then(
      (explanation) => asked.signal.aborted || setValue(explanation),
      () => {}, // the next change asks again
    );
    return () => asked.abort();
  }, [revision, round]);
  return { value, reload: useCallback(() => setRound((n) => n + 1), []) };
}
