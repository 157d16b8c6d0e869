// Times in the inputs of a browser, which are in the reader's zone and have no offset.

const MINUTE = 60_000; // ms

// forInput is a time as the value of an input of type datetime-local.
export function forInput(time) {
  if (!time) return "";
  const at = new Date(time);
  return new Date(at - at.getTimezoneOffset() * MINUTE).toISOString().slice(0, 19);
}

// fromInput is the time of such a value for the API; "" for none.
export function fromInput(value) {
  const at = new Date(value);
  return value && !Number.isNaN(at.valueOf()) ? at.toISOString() : "";
}
