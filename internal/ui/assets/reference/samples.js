// Programs that send a request, to copy. Credentials are read from the environment, and other
// secrets are replaced by their names, so that a sample can be shared. No state.

import { FORM, isForm, JSON_TYPE, MULTIPART } from "./request.js";

export const languages = { curl, javascript, python, go, csharp };

const VARIABLES = { bearer: "PORCHLIGHT_TOKEN", system: "PORCHLIGHT_SYSTEM_TOKEN" };
const ID = "PORCHLIGHT_CLIENT_ID";
const SECRET = "PORCHLIGHT_CLIENT_SECRET";
const secretName = /password|secret|(^|_)token$|^code(_verifier)?$|^current$|^new$/;

// prepare removes the secrets of a request.
export function prepare(request) {
  const fields = request.fields.map(([name, value]) => [name, hide(name, value)]);
  return { ...request, fields, value: parsed(request), text: request.type === JSON_TYPE ? JSON.stringify(parsed(request)) : request.text };
}

function parsed(request) {
  if (request.type !== JSON_TYPE) return undefined;
  try {
    return JSON.parse(request.text, (name, value) => (typeof value === "string" ? hide(name, value) : value));
  } catch {
    return {}; // what is no JSON may have a secret anywhere
  }
}

function hide(name, value) {
  return value && secretName.test(name) ? name.toUpperCase() : value;
}

// quote writes a literal that JavaScript, Python, Go and C# read alike.
function quote(text) {
  return JSON.stringify(text).replace(/[\u007f-\u00a0\u2028\u2029\ufeff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

const lines = (...parts) => parts.flat().filter((l) => l !== null && l !== undefined && l !== false).join("\n") + "\n";
const typed = (r) => Boolean(r.type) && r.type !== MULTIPART;

// ---- curl

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function curl(given) {
  const r = prepare(given);
  const parts = [`curl -i${r.method === "GET" ? "" : " -X " + r.method} ${shell(r.url)}`];
  if (VARIABLES[r.scheme]) parts.push(`-H "Authorization: Bearer $${VARIABLES[r.scheme]}"`);
  if (r.scheme === "app") parts.push(`-u "$${ID}:$${SECRET}"`);
  for (const [name, value] of r.headers) parts.push("-H " + shell(`${name}: ${value}`));
  if (typed(r) && r.type !== FORM) parts.push("-H " + shell("Content-Type: " + r.type), "--data-binary " + shell(r.text));
  for (const [name, value] of r.fields) parts.push((r.type === FORM ? "--data-urlencode " : "--form-string ") + shell(`${name}=${value}`));
  return parts.join(" \\\n  ") + "\n";
}

// ---- JavaScript

function javascript(given) {
  const r = prepare(given);
  const headers = r.headers.map(([name, value]) => `    ${quote(name)}: ${quote(value)},`);
  if (VARIABLES[r.scheme]) headers.unshift(`    Authorization: "Bearer " + process.env.${VARIABLES[r.scheme]},`);
  if (r.scheme === "app") headers.unshift(`    Authorization: "Basic " + btoa(process.env.${ID} + ":" + process.env.${SECRET}),`);
  if (typed(r) && r.type !== FORM) headers.push(`    "Content-Type": ${quote(r.type)},`);
  const pairs = r.fields.map(([name, value]) => `  [${quote(name)}, ${quote(value)}],`);
  return lines(
    r.type === FORM && ["const body = new URLSearchParams([", pairs, "]);"].flat(),
    r.type === MULTIPART && ["const body = new FormData();", r.fields.map(([n, v]) => `body.append(${quote(n)}, ${quote(v)});`)].flat(),
    r.type === JSON_TYPE && `const body = JSON.stringify(${JSON.stringify(r.value, null, 2)});`,
    typed(r) && r.type !== FORM && r.type !== JSON_TYPE && `const body = ${quote(r.text)};`,
    `const response = await fetch(${quote(r.url)}, {`,
    `  method: ${quote(r.method)},`,
    headers.length > 0 && ["  headers: {", headers, "  },"].flat(),
    r.type && "  body,",
    "});",
    "process.stdout.write(`${response.status}\\n${await response.text()}\\n`);",
  );
}

// ---- Python

function literal(value, indent = "") {
  const inner = indent + "    ";
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return value.length ? `[\n${value.map((v) => inner + literal(v, inner) + ",\n").join("")}${indent}]` : "[]";
  if (typeof value !== "object") return typeof value === "string" ? quote(value) : String(value);
  const members = Object.entries(value).map(([k, v]) => `${inner}${quote(k)}: ${literal(v, inner)},\n`);
  return members.length ? `{\n${members.join("")}${indent}}` : "{}";
}

const BOUNDARY = "porchlight-f3a1c9d27b";

function multipartText(fields) {
  const crlf = "\r\n";
  const name = (n) => n.replaceAll('"', "%22").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  return fields.map(([n, v]) => `--${BOUNDARY}${crlf}Content-Disposition: form-data; name="${name(n)}"${crlf}${crlf}${v}${crlf}`).join("") + `--${BOUNDARY}--${crlf}`;
}

function python(given) {
  const r = prepare(given);
  const headers = r.headers.map(([name, value]) => `    ${quote(name)}: ${quote(value)},`);
  if (VARIABLES[r.scheme]) headers.unshift(`    "Authorization": "Bearer " + os.environ["${VARIABLES[r.scheme]}"],`);
  if (r.scheme === "app") headers.unshift(`    "Authorization": "Basic " + base64.b64encode(f'{os.environ["${ID}"]}:{os.environ["${SECRET}"]}'.encode()).decode(),`);
  if (r.type) headers.push(`    "Content-Type": ${quote(r.type === MULTIPART ? `${MULTIPART}; boundary=${BOUNDARY}` : r.type)},`);
  const body = {
    [JSON_TYPE]: () => `body = json.dumps(${literal(r.value)})`,
    [FORM]: () => `body = urllib.parse.urlencode(${literal(Object.fromEntries(r.fields))})`,
    [MULTIPART]: () => `body = ${quote(multipartText(r.fields))}`,
  }[r.type] ?? (() => r.type && `body = ${quote(r.text)}`);
  return lines(
    r.scheme === "app" && "import base64",
    r.type === JSON_TYPE && "import json",
    r.scheme && "import os",
    "import urllib.error",
    r.type === FORM && "import urllib.parse",
    "import urllib.request",
    "",
    body() || null,
    "headers = {",
    headers,
    "}",
    `request = urllib.request.Request(${quote(r.url)}, method=${quote(r.method)}, headers=headers${r.type ? ", data=body.encode()" : ""})`,
    "try:",
    "    response = urllib.request.urlopen(request)",
    "except urllib.error.HTTPError as error:",
    "    response = error",
    "print(response.code)",
    "print(response.read().decode())",
  );
}

// ---- Go

function goBody(r) {
  const check = ["\tif err != nil {", "\t\tlog.Fatal(err)", "\t}"];
  if (r.type === FORM) return ["\tform := url.Values{", ...r.fields.map(([n, v]) => `\t\t${quote(n)}: {${quote(v)}},`), "\t}", "\tbody := strings.NewReader(form.Encode())"];
  if (r.type !== MULTIPART) return r.type ? [`\tbody := strings.NewReader(${quote(r.text)})`] : ["\tvar body io.Reader"];
  return [
    "\tbody := new(bytes.Buffer)", "\tform := multipart.NewWriter(body)",
    ...r.fields.flatMap(([n, v]) => [`\tif err := form.WriteField(${quote(n)}, ${quote(v)}); err != nil {`, ...check.slice(1)]),
    "\tif err := form.Close(); err != nil {", ...check.slice(1),
  ];
}

function go(given) {
  const r = prepare(given);
  const packages = ["fmt", "io", "log", "net/http"];
  if (r.scheme) packages.push("os");
  if (r.type === MULTIPART) packages.push("bytes", "mime/multipart");
  else if (r.type) packages.push("strings");
  if (r.type === FORM) packages.push("net/url");
  const contentType = r.type === MULTIPART ? "form.FormDataContentType()" : quote(r.type);
  const check = ["\tif err != nil {", "\t\tlog.Fatal(err)", "\t}"];
  return lines(
    "package main", "", "import (", packages.sort().map((p) => `\t"${p}"`), ")", "", "func main() {",
    goBody(r),
    `\trequest, err := http.NewRequest(${quote(r.method)}, ${quote(r.url)}, body)`, check,
    VARIABLES[r.scheme] && `\trequest.Header.Set("Authorization", "Bearer "+os.Getenv("${VARIABLES[r.scheme]}"))`,
    r.scheme === "app" && `\trequest.SetBasicAuth(os.Getenv("${ID}"), os.Getenv("${SECRET}"))`,
    r.headers.map(([name, value]) => `\trequest.Header.Set(${quote(name)}, ${quote(value)})`),
    r.type && `\trequest.Header.Set("Content-Type", ${contentType})`,
    "\tresponse, err := http.DefaultClient.Do(request)", check,
    "\tdefer response.Body.Close()",
    "\ttext, err := io.ReadAll(response.Body)", check,
    "\tfmt.Printf(\"%s\\n%s\\n\", response.Status, text)", "}",
  );
}

// ---- C#

function csharpBody(r) {
  const inner = "            ";
  if (r.type === FORM) return [`${inner}request.Content = new FormUrlEncodedContent(new Dictionary<string, string>`, `${inner}{`, ...r.fields.map(([n, v]) => `${inner}    { ${quote(n)}, ${quote(v)} },`), `${inner}});`];
  if (r.type === MULTIPART) return [`${inner}var form = new MultipartFormDataContent();`, ...r.fields.map(([n, v]) => `${inner}form.Add(new StringContent(${quote(v)}), ${quote(n)});`), `${inner}request.Content = form;`];
  return r.type ? [`${inner}request.Content = new StringContent(${quote(r.text)}, Encoding.UTF8, ${quote(r.type)});`] : [];
}

function csharp(given) {
  const r = prepare(given);
  const variable = (name) => `Environment.GetEnvironmentVariable("${name}")`;
  const inner = "            ";
  const authorization = {
    app: `"Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes(${variable(ID)} + ":" + ${variable(SECRET)}))`,
    bearer: `"Bearer " + ${variable(VARIABLES.bearer)}`,
    system: `"Bearer " + ${variable(VARIABLES.system)}`,
  }[r.scheme];
  return lines(
    "using System;", r.type === FORM && "using System.Collections.Generic;", "using System.Net.Http;",
    ((r.type && !isForm(r.type)) || r.scheme === "app") && "using System.Text;", "using System.Threading.Tasks;", "",
    "class Program", "{", "    static void Main()", "    {", "        Run().GetAwaiter().GetResult();", "    }", "", "    static async Task Run()", "    {", "        using (var client = new HttpClient())", "        {",
    `${inner}var request = new HttpRequestMessage(new HttpMethod(${quote(r.method)}), ${quote(r.url)});`,
    authorization && `${inner}request.Headers.TryAddWithoutValidation("Authorization", ${authorization});`,
    r.headers.map(([name, value]) => `${inner}request.Headers.TryAddWithoutValidation(${quote(name)}, ${quote(value)});`),
    csharpBody(r),
    `${inner}var response = await client.SendAsync(request);`,
    `${inner}Console.WriteLine((int)response.StatusCode);`,
    `${inner}Console.WriteLine(await response.Content.ReadAsStringAsync());`,
    "        }", "    }", "}",
  );
}
