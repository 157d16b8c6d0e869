// What a board selects and how it is arranged, as it stands in the address of the page: such
// an address can be kept and passed on.

const choices = {
  status: ["available", "busy", "away", "offline"],
  by: ["group", "status"],
  sort: ["name", "changed"],
};

// parse reads the query of an address. only is the group that the board is of: /?group=Support.
export function parse(search) {
  const given = new URLSearchParams(search);
  const one = (name) => (choices[name].includes(given.get(name)) ? given.get(name) : "");
  return {
    only: given.get("group") ?? "",
    wall: given.has("wall"),
    text: given.get("q") ?? "",
    group: given.get("in") ?? "",
    contacts: given.has("contacts"),
    status: one("status"),
    by: one("by"),
    sort: one("sort"),
  };
}

// format is the address with another query. Other parameters of the address stay.
export function format(query, search) {
  const given = new URLSearchParams(search);
  const values = { q: query.text, in: query.group, contacts: query.contacts ? "yes" : "", status: query.status, by: query.by, sort: query.sort };
  for (const [name, value] of Object.entries(values)) {
    if (value) given.set(name, value);
    else given.delete(name);
  }
  const text = given.toString();
  return text && "?" + text;
}

// cleared is the query without anything that hides people.
export function cleared(query) {
  return { ...query, text: "", group: "", contacts: false, status: "" };
}

// narrowed reports whether the query hides people.
export function narrowed({ text, group, contacts, status }) {
  return Boolean(text || group || contacts || status);
}
