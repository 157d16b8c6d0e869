// Saves a table with what the pages use (DOWNLOAD, a module), and prints it.
globalThis.sessionStorage = { getItem: () => null };
globalThis.location = new URL('http://localhost/');
globalThis.document = { createElement: () => ({ click() {} }) };
let saved;
URL.createObjectURL = (blob) => {
  saved = blob;
  return 'blob:table';
};
const { saveCSV } = await import(process.env.DOWNLOAD);
saveCSV([['=1', '+1', '-1', '@1', '＝1', ' =1', "'=1", "'plain", 1]], 'table.csv');
process.stdout.write(await saved.text());
process.exit();
