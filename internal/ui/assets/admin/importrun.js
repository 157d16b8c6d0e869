// One request to import users, and what it reports while it lasts.

const LONGEST = 300; // characters of a line that are shown
const NEWLINE = 10;
const DRAW = 200; // ms, so that a long list of refused lines is not drawn for each part of it

// runImport sends the file and calls show(run) with what the server has reported so far. It
// returns when the run has ended. dry changes nothing; all reports every line that is refused,
// not only the first of them. texts are what to say of a run without a result.
export async function runImport(client, file, { dry, all = false }, signal, show, texts) {
  const run = { dry, counts: { rows: 0 }, errors: [], result: null, problem: "", ended: false };
  let drawn = 0;
  const draw = () => {
    drawn = Date.now();
    show({ ...run, errors: run.errors.slice() });
  };
  try {
    const answer = await client.fetch("POST", "/v1/users/import", { query: { dry_run: dry, all_errors: all || undefined }, body: file, headers: { "Content-Type": "text/csv" }, timeout: 0, signal });
    for await (const event of events(answer.body)) {
      take(run, event);
      if (Date.now() - drawn > DRAW) draw();
    }
    run.problem = run.result ? run.result.problem?.detail ?? "" : texts.broken;
  } catch (err) {
    run.problem = signal.aborted ? texts.stopped : err.status ? err.message : texts.broken;
  }
  run.ended = true;
  draw();
}

function take(run, { type, line, field, reason, ...event }) {
  if (type === "error") run.errors.push({ line, field, reason });
  else run.counts = event;
  if (type === "result") run.result = event;
}

// events reads lines of JSON as they arrive.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
  if (rest) yield JSON.parse(rest);
}

// textsOf returns the first characters of lines of a file, by number. Line 1 is the first.
export async function textsOf(file, numbers) {
  const wanted = new Set(numbers);
  const found = new Map();
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  let [number, rest] = [1, ""];
  for (let part = await reader.read(); !part.done && found.size < wanted.size; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (wanted.has(number)) found.set(number, line.slice(0, LONGEST).trimEnd());
      number++;
    }
  }
  if (wanted.has(number)) found.set(number, rest.slice(0, LONGEST));
  return found;
}

// countLines is about how many users a file has, without reading it into memory.
export async function countLines(file) {
  const reader = file.stream().getReader();
  let count = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    for (let at = part.value.indexOf(NEWLINE); at >= 0; at = part.value.indexOf(NEWLINE, at + 1)) count++;
  }
  return Math.max(1, count - 1); // the first line names the columns
}
