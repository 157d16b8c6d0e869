// How long to wait before the next attempt, and the waiting itself.

const FIRST_WAIT = 1_000; // ms; bounds the first wait, and the bound doubles each time
export const LONGEST_WAIT = 30_000;

// A Backoff computes a random wait up to a bound that doubles ("full jitter"), so that many
// clients do not come back at the same time.
export class Backoff {
  #failures = 0;
  #longest;

  constructor(longest = LONGEST_WAIT) {
    this.#longest = longest;
  }

  reset() {
    this.#failures = 0;
  }

  // next is the wait in ms: what the server asked for, plus the random time.
  next(asked = 0) {
    return asked + Math.random() * Math.min(FIRST_WAIT * 2 ** this.#failures++, this.#longest);
  }
}

// pause waits, and rejects with the signal's reason if that aborts.
export function pause(ms, signal) {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
