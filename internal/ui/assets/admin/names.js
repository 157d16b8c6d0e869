// The names of users and apps, of which the API gives only the id.

import { useEffect, useState } from "preact/hooks";

import { client } from "../session.js";
import { nameOf } from "./usermarks.js";

const known = new Map(); // promises of names, by path

// useName returns the name of what is at a path, and other until it is known. Something that
// was deleted has no name.
function useName(path, name, other) {
  const [found, setFound] = useState(other);
  useEffect(() => {
    let wanted = true;
    if (!known.has(path)) known.set(path, client.get(path).then(name));
    known.get(path).then(
      (text) => wanted && setFound(text),
      () => known.delete(path), // it may be there next time
    );
    return () => {
      wanted = false;
    };
  }, [path]);
  return found;
}

export function UserName({ id }) {
  return useName("/v1/users/" + encodeURIComponent(id), nameOf, id);
}

export function AppName({ id }) {
  return useName("/v1/apps/" + encodeURIComponent(id), (app) => app.name, id);
}
