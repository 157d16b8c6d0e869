// Data that a page reads again and again.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

// usePolling calls read at once, every so many milliseconds while the page is visible, and
// when key changes. It returns the last data, the problem of the last attempt and a function
// that reads at once.
export function usePolling(read, every, key = "") {
  const [state, setState] = useState({ data: undefined, problem: "" });
  const latest = useRef(read);
  const round = useRef(0);
  latest.current = read;

  const again = useCallback(async () => {
    const mine = ++round.current;
    try {
      const data = await latest.current();
      if (mine === round.current) setState({ data, problem: "" });
    } catch (err) {
      if (mine === round.current) setState((s) => ({ ...s, problem: err.message }));
    }
  }, []);

  useEffect(() => {
    let ended = false;
    let timer;
    const poll = async () => {
      if (document.visibilityState === "visible") await again();
      if (!ended) timer = setTimeout(poll, every);
    };
    const seen = () => {
      if (document.visibilityState === "visible") again();
    };
    poll();
    document.addEventListener("visibilitychange", seen);
    return () => {
      ended = true;
      round.current++;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [every, key, again]);
  return { ...state, again };
}
