// Filters of a list that are kept in the address of the page.

import { useEffect, useRef, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { useDelayed } from "../components.js";

// setFilters changes parameters of the address. An empty value removes one.
export function setFilters(change) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(change)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  navigate(location.pathname + (query.size ? "?" + query : ""), { replace: true });
}

// useSearch is the text of a search field. onChange is called with it once the user stops
// typing, and the field follows value when that changes otherwise, such as by going back.
export function useSearch(value, onChange) {
  const [typed, setTyped] = useState(value);
  const known = useRef(value);
  const settled = useDelayed(typed);
  useEffect(() => {
    if (settled === known.current) return;
    known.current = settled;
    onChange(settled);
  }, [settled]);
  useEffect(() => {
    if (value === known.current) return;
    known.current = value;
    setTyped(value);
  }, [value]);
  return [typed, setTyped];
}
