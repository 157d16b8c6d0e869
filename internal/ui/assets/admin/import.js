// The page /admin/users/import: a CSV file is checked first, which changes nothing, and then
// imported. What the server reports is shown while it arrives.

import { useEffect, useRef, useState } from "preact/hooks";

import { Alert, html, Progress, useAction } from "../components.js";
import { saveCSV } from "../download.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/import.js";
import { countLines, runImport, textsOf } from "./importrun.js";

const LARGEST = 64 * 1_024 * 1_024;
const SHOWN = 200; // refused lines that are shown at once

export default function Import() {
  const [file, setFile] = useState(null);
  const [problem, setProblem] = useState("");
  // A run is { dry, counts, errors, result, problem, ended }. The last one is shown.
  const [run, setRun] = useState(null);
  const [lines, setLines] = useState(0); // about, for the progress
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);

  const start = async (dry, of = file) => {
    stop.current = new AbortController();
    setRun({ dry, counts: { rows: 0 }, errors: [] });
    const stopped = dry ? texts.checkStopped : texts.stopped;
    await runImport(client, of, { dry }, stop.current.signal, setRun, { stopped, broken: texts.broken });
  };
  const choose = (files) => {
    setProblem(files.length > 1 ? texts.several : files[0]?.size > LARGEST ? texts.tooLarge : "");
    if (files.length !== 1 || files[0].size > LARGEST) return;
    setFile(files[0]);
    setLines(0);
    countLines(files[0]).then(setLines);
    start(true, files[0]);
  };
  const running = run && !run.ended;

  return html`<p><a href="/admin/users">← ${texts.back}</a></p><h1>${texts.title}</h1><p>${texts.intro}</p>
    <${Alert} id="file-problem">${problem}<//>
    <${Chooser} file=${file} disabled=${running} onChoose=${choose} />
    ${!run && html`<${Columns} />`}
    ${running && html`<section class="card" id="running"><${Progress} label=${run.dry ? texts.checking : texts.importing} value=${lines ? run.counts.rows : undefined} max=${lines || 1} />
      <div class="spread"><p class="quiet">${texts.rows(run.counts.rows)}</p><button type="button" class="small" onClick=${() => stop.current.abort()}>${texts.stop}</button></div></section>`}
    ${run?.ended && html`<${Outcome} run=${run} onImport=${() => start(false)} />`}
    ${run?.errors.length > 0 && html`<${Refused} key=${run.dry} run=${run} file=${file} />`}`;
}

// Chooser takes one file, by its button or dropped on it.
function Chooser({ file, disabled, onChoose }) {
  const [over, setOver] = useState(false);
  const input = useRef(null);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    if (!disabled) onChoose([...event.dataTransfer.files]);
  };
  const drag = (event) => {
    event.preventDefault(); // otherwise the browser opens the file
    setOver(true);
  };
  const chosen = () => {
    onChoose([...input.current.files]);
    input.current.value = ""; // so that the same file can be chosen again
  };
  return html`<div class="dropzone ${over ? "over" : ""}" onDragOver=${drag} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <input id="file" type="file" accept=".csv,text/csv" hidden aria-label=${texts.choose} ref=${input} onChange=${chosen} />
    ${file && html`<p id="file-name"><span class="name">${file.name}</span> <span class="quiet">${texts.size(file.size)}</span></p>`}
    <p><button type="button" id="choose" class=${file ? "" : "main"} disabled=${disabled} onClick=${() => input.current.click()}>${file ? texts.another : texts.choose}</button> <span class="quiet">${texts.drop}</span></p>
  </div>`;
}

function Columns() {
  return html`<section class="card" aria-labelledby="columns-title"><div class="spread"><h2 id="columns-title">${texts.columns}</h2>
      <button type="button" class="small" onClick=${() => saveCSV(texts.exampleRows, "users-example.csv")}>${texts.example}</button></div>
    <p class="quiet">${texts.columnsExplained}</p>
    <ul class="row plain-list">${texts.columnNames.map(([name, hint]) => html`<li><code>${name}</code> ${hint && html`<span class="quiet">${hint}</span>`}</li>`)}</ul></section>`;
}

const kinds = ["created", "updated", "unchanged", "failed"];

// Outcome is what a run found, and after a check the button to import.
function Outcome({ run, onImport }) {
  const { dry, counts, result, problem } = run;
  const complete = Boolean(result?.complete);
  const changes = (counts.created ?? 0) + (counts.updated ?? 0);
  const title = dry ? texts.preview : complete ? texts.result : texts.incomplete;
  return html`<section class="card" id="outcome" data-dry=${dry} data-complete=${complete} aria-labelledby="outcome-title" aria-live="polite">
    <h2 id="outcome-title">${title}</h2>
    <${Alert} id="import-problem">${problem}<//>
    ${result && html`<dl class="counts">${kinds.map((k) => html`<div class=${k === "failed" && counts.failed ? "bad" : ""} data-count=${k}><dt>${texts.counts[k][dry ? 0 : 1]}</dt><dd class="number">${texts.number(counts[k])}</dd></div>`)}</dl>`}
    ${complete && dry && (changes
      ? html`<div class="row"><button type="button" id="start" class="main" onClick=${onImport}>${texts.start(changes)}</button>${counts.failed > 0 && html`<span class="quiet">${texts.withoutRefused(counts.failed)}</span>`}</div>`
      : html`<p>${texts.nothing}</p>`)}
    ${!dry && html`<p><a class="button" href="/admin/users">${texts.toUsers}</a></p>`}
  </section>`;
}

const rowsOf = (errors, lines) => errors.map((e) => [e.line, e.field, e.reason, lines.get(e.line)]);

// refusedLines checks the file once more, and returns every line that the server refuses.
async function refusedLines(file) {
  let run;
  await runImport(client, file, { dry: true, all: true }, new AbortController().signal, (state) => (run = state), { broken: texts.broken });
  if (!run.result?.complete) throw new Error(run.problem);
  return rowsOf(run.errors, await textsOf(file, run.errors.map((e) => e.line)));
}

// Refused are the lines that the server refused, a part of them at a time.
function Refused({ run, file }) {
  const [shown, setShown] = useState(SHOWN);
  const [lines, setLines] = useState(new Map()); // the texts of the file, once the run has ended
  const { errors, counts, ended } = run;
  useEffect(() => {
    if (ended) textsOf(file, errors.map((e) => e.line)).then(setLines, () => {}); // without them, the rest is shown
  }, [ended]);
  const rows = rowsOf(errors, lines);
  const partial = ended && counts.failed > errors.length;
  const all = useAction();
  const save = () => all.run(async () => {
    const found = partial ? await refusedLines(file) : rows;
    saveCSV([["line", "column", "reason", "text"], ...found], file.name.replace(/\.csv$/i, "") + "-refused.csv");
  });
  return html`<section class="stack" id="refused" aria-labelledby="refused-title"><div class="spread"><h2 id="refused-title">${texts.refused}</h2>
      <button type="button" class="small" id="save-refused" disabled=${!ended || all.busy} onClick=${save}>${all.busy ? texts.checking : partial ? texts.saveAll(counts.failed) : texts.save}</button></div>
    <${Alert} id="save-problem">${all.problem}<//>
    ${partial && html`<p class="notice">${texts.onlyShown(errors.length, counts.failed)} <code>porchlight user import --dry-run --all-errors</code>.</p>`}
    <div class="table"><table class="refused" aria-label=${texts.refused}><thead><tr>${[texts.line, texts.column, texts.reason, texts.text].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody>${rows.slice(0, shown).map(([line, field, reason, text]) => html`<tr key=${line} data-line=${line}><td class="line" data-title=${texts.line}>${line}</td><td class="column" data-title=${texts.column}>${field ? html`<code>${field}</code>` : "–"}</td><td data-title=${texts.reason}>${reason}</td><td data-title=${texts.text}><code>${text}</code></td></tr>`)}</tbody></table></div>
    ${errors.length > shown && html`<p><button type="button" onClick=${() => setShown((n) => n + SHOWN)}>${common.more}</button></p>`}
  </section>`;
}
