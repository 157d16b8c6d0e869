// What the OpenAPI document says of each operation, in a form that is easy to show. No state,
// no requests.

const METHODS = ["get", "put", "post", "patch", "delete"];

// operations lists everything that the document describes, in its order.
export function operations(doc) {
  const found = [];
  for (const [kind, group] of [["path", doc.paths], ["event", doc.webhooks ?? {}]]) {
    for (const [path, item] of Object.entries(group)) {
      for (const method of METHODS) {
        if (item[method]) found.push(operation(doc, kind, path, method, item));
      }
    }
  }
  return found;
}

function operation(doc, kind, path, method, item) {
  const op = item[method];
  const body = op.requestBody && resolve(doc, op.requestBody);
  return {
    id: op.operationId,
    sent: kind === "path", // by clients; the others are sent by the server
    method: method.toUpperCase(),
    path: kind === "path" ? path : "",
    tag: op.tags?.[0] ?? "",
    summary: op.summary ?? "",
    description: op.description ?? "",
    ...security(op),
    parameters: [...(item.parameters ?? []), ...(op.parameters ?? [])].map((p) => resolve(doc, p)),
    body: body && { required: body.required, description: body.description, types: body.content },
    responses: Object.entries(op.responses ?? {}).map(([status, r]) => ({ status, ...resolve(doc, r) })),
  };
}

// security is how a request shows who sends it: "bearer", "system", "app" or "" for nobody.
function security(op) {
  const [scheme, scopes] = Object.entries(op.security?.[0] ?? {})[0] ?? ["", []];
  return { scheme, scopes };
}

// resolve follows a reference.
export function resolve(doc, node) {
  if (!node?.$ref) return node ?? {};
  const found = node.$ref.split("/").slice(1).reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], doc);
  return resolve(doc, found);
}

// types names the types that a schema allows, such as "string" or "array of Claim".
export function typeName(doc, schema) {
  const name = schema?.$ref?.split("/").pop();
  const s = resolve(doc, schema);
  const one = s.oneOf ?? s.anyOf;
  if (one) return one.map((o) => typeName(doc, o)).join(" or ");
  if (s.type === "array") return "array of " + typeName(doc, s.items);
  if (name && s.properties) return name;
  const base = [s.type ?? (s.enum || s.const !== undefined ? "string" : s.properties ? "object" : "any")].flat().join(" or ");
  return s.format ? `${base} (${s.format})` : base;
}

// limits says what a value must be like beside its type.
export function limits(schema) {
  const shown = [];
  if (schema.const !== undefined) shown.push(JSON.stringify(schema.const));
  if (schema.minimum !== undefined || schema.maximum !== undefined) shown.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
  if (schema.minLength || schema.maxLength) shown.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "…"} characters`);
  if (schema.maxItems) shown.push(`at most ${schema.maxItems} items`);
  if (schema.default !== undefined) shown.push("default " + JSON.stringify(schema.default));
  return shown.join(", ");
}

// sample is a value that fits a schema: its example, or what is required of it.
export function sample(doc, schema, depth = 0) {
  const s = resolve(doc, schema);
  if (s.example !== undefined) return s.example;
  if (s.examples?.length) return s.examples[0];
  if (s.const !== undefined) return s.const;
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  if (s.oneOf ?? s.anyOf) return sample(doc, (s.oneOf ?? s.anyOf)[0], depth);
  const type = [s.type].flat()[0];
  if (s.properties) return object(doc, s, depth);
  if (type === "array") return depth > 3 ? [] : [sample(doc, s.items, depth + 1)];
  return { string: "", integer: s.minimum ?? 0, number: s.minimum ?? 0, boolean: false, object: {} }[type] ?? null;
}

function object(doc, s, depth) {
  const names = Object.keys(s.properties);
  const wanted = names.filter((n) => s.required?.includes(n) || (depth === 0 && resolve(doc, s.properties[n]).example !== undefined));
  const chosen = wanted.length || depth > 3 ? wanted : names.slice(0, 1);
  return Object.fromEntries(chosen.map((n) => [n, sample(doc, s.properties[n], depth + 1)]));
}

// examples are the bodies that the document gives for a media type: [{ name, value }].
export function examples(doc, media) {
  if (media.examples) return Object.entries(media.examples).map(([name, e]) => ({ name: e.summary ?? name, value: resolve(doc, e).value }));
  if (media.example !== undefined) return [{ name: "", value: media.example }];
  return [{ name: "", value: sample(doc, media.schema) }];
}

// search finds the operations that have every word, those with the words in their names first.
export function search(all, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return all;
  const has = (text) => words.every((w) => text.toLowerCase().includes(w));
  const named = all.filter((op) => has(`${op.method} ${op.path} ${op.summary} ${op.tag} ${op.id}`));
  const rest = all.filter((op) => !named.includes(op) && has(`${op.method} ${op.path} ${op.summary} ${op.tag} ${op.description}`));
  return [...named, ...rest];
}
