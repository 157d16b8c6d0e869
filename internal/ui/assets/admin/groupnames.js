// The names of the account's groups, for choices.

import { useEffect, useState } from "preact/hooks";

import { client } from "../session.js";

const PAGE = 1_000;

// useGroupNames returns the names, sorted. They are a help: without them, other parts of the
// page work, so that a failure shows as an empty choice.
export function useGroupNames() {
  const [names, setNames] = useState([]);
  useEffect(() => {
    let wanted = true;
    readGroups().then((groups) => wanted && setNames(groups.map((g) => g.name)), () => {});
    return () => {
      wanted = false;
    };
  }, []);
  return names;
}

// readGroups returns all groups, by name.
export async function readGroups() {
  const groups = [];
  for await (const page of client.pages("/v1/groups", { limit: PAGE })) groups.push(...page.groups);
  return groups.sort((a, b) => a.name.localeCompare(b.name));
}
