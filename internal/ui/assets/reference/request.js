// The request that a person has prepared for an operation. No state but what is given.

import { examples, resolve } from "./document.js";

export const JSON_TYPE = "application/json";
export const MULTIPART = "multipart/form-data";
export const FORM = "application/x-www-form-urlencoded";

// isForm reports whether a body of the type has fields.
export function isForm(type) {
  return type === MULTIPART || type === FORM;
}

// initial has the values that a form for the operation begins with.
export function initial(doc, op) {
  const parameters = {};
  for (const p of op.parameters) parameters[p.name] = p.required ? String(p.example ?? resolve(doc, p.schema).example ?? "") : "";
  const type = Object.keys(op.body?.types ?? {})[0] ?? "";
  return { parameters, ...bodyOf(doc, op, type) };
}

// bodyOf has the values for a body of a type, filled with an example of the document.
export function bodyOf(doc, op, type, example = 0) {
  if (!type) return { type, text: "", fields: {} };
  const media = op.body.types[type];
  const { value } = examples(doc, media)[example];
  if (!isForm(type)) return { type, text: typeof value === "string" ? value : JSON.stringify(value, null, 2), fields: {} };
  const fields = {};
  for (const name of Object.keys(resolve(doc, media.schema).properties ?? {})) fields[name] = String(value?.[name] ?? "");
  return { type, text: "", fields };
}

// build makes the request: { method, url, headers, type, text, fields }. Headers and fields
// are pairs. What is empty is not sent.
export function build(op, values, origin) {
  const given = (where) => op.parameters.filter((p) => p.in === where && values.parameters[p.name] !== "");
  const path = op.path.replace(/\{([^}]*)\}/g, (_, name) => encodeURIComponent(values.parameters[name] ?? ""));
  const query = new URLSearchParams(given("query").map((p) => [p.name, values.parameters[p.name]]));
  return {
    method: op.method,
    url: origin + path + (query.size ? "?" + query : ""),
    headers: given("header").map((p) => [p.name, values.parameters[p.name]]),
    scheme: op.scheme,
    type: values.type,
    text: values.text,
    fields: Object.entries(values.fields).filter(([, value]) => value !== ""),
  };
}

function bodyToSend(request) {
  if (request.type === FORM) return new URLSearchParams(request.fields);
  if (request.type !== MULTIPART) return request.type ? request.text : undefined;
  const form = new FormData();
  for (const [name, value] of request.fields) form.append(name, value);
  return form;
}

// authorization is the value of the header, or "" to send the browser's sign-in.
export function authorization(scheme, credentials) {
  if (scheme === "bearer" || scheme === "system") return credentials[scheme] && "Bearer " + credentials[scheme];
  if (scheme !== "app" || !credentials.id) return "";
  const bytes = new TextEncoder().encode(`${encodeURIComponent(credentials.id)}:${encodeURIComponent(credentials.secret)}`);
  return "Basic " + btoa(String.fromCharCode(...bytes));
}

const MOST = 512 * 1024; // characters of an answer that are shown

// send sends the request and calls show(answer) with what has arrived so far: { status, words,
// headers, text, milliseconds, done }.
export async function send(request, credentials, signal, show) {
  const auth = authorization(request.scheme, credentials);
  const headers = new Headers(request.headers);
  if (auth) headers.set("Authorization", auth);
  if (request.type && request.type !== MULTIPART) headers.set("Content-Type", request.type);
  const began = performance.now();
  const response = await fetch(request.url, { method: request.method, headers, body: bodyToSend(request), signal, cache: "no-store" });
  const answer = { status: response.status, words: response.statusText, headers: [...response.headers], text: "", milliseconds: performance.now() - began, done: false };
  show({ ...answer });
  await read(response, answer, show);
  show({ ...answer, done: true });
}

// read follows the body, which may not end, such as that of a stream.
async function read(response, answer, show) {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    answer.text += decoder.decode(value, { stream: true });
    if (answer.text.length > MOST) return reader.cancel();
    show({ ...answer });
  }
}
