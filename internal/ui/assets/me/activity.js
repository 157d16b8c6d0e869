// Whether the user is active: from what they do on the page, or, where the browser has the
// Idle Detection API and the user allows it, from what they do on the whole computer.

const AGAIN = 60_000; // ms between reports of an active user without input on the page
const SHORTEST = 60_000; // ms: browsers accept no shorter threshold

export class Activity {
  active = true;
  #report; // report(active)
  #idleAfter;
  #now;
  #lastInput;
  #timer = 0;
  #detection = null; // ends the detection

  constructor({ report, idleAfter = 5 * 60_000, now = Date.now }) {
    this.#report = report;
    this.#idleAfter = idleAfter;
    this.#now = now;
    this.#lastInput = now();
  }

  get detecting() {
    return this.#detection !== null;
  }

  start() {
    this.#watch(this.#idleAfter);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#detection?.abort();
    this.#detection = null;
  }

  // input is called for each sign of the user on the page.
  input() {
    this.#lastInput = this.#now();
    const returned = !this.active;
    this.active = true;
    this.#report(true);
    if (returned && !this.#detection) this.#watch(this.#idleAfter);
  }

  // A hidden page gets no input, so it needs no rule of its own. The timer is set for the
  // earliest time at which the user can be idle.
  #watch(after) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const left = this.#idleAfter - (this.#now() - this.#lastInput);
      if (left > 0) this.#watch(left);
      else this.#become(false);
    }, after);
  }

  #become(active) {
    this.active = active;
    this.#report(active);
  }

  // detect uses the Idle Detection API until undetect or stop. It asks for the permission,
  // which needs a click, unless granted says that the user gave it before. It reports
  // whether detection has begun.
  async detect(granted = false) {
    if (!granted && (await IdleDetector.requestPermission()) !== "granted") return false;
    const detector = new IdleDetector();
    const detection = new AbortController();
    detector.addEventListener("change", () => {
      if (!detection.signal.aborted) this.#detected(detector);
    });
    await detector.start({ threshold: Math.max(this.#idleAfter, SHORTEST), signal: detection.signal });
    this.#detection?.abort();
    this.#detection = detection;
    this.#detected(detector);
    return true;
  }

  undetect() {
    this.#detection?.abort();
    this.#detection = null;
    this.#watch(this.#idleAfter);
  }

  // The server takes a session for idle when nothing is reported for long, so an active
  // user is reported again.
  #detected(detector) {
    clearTimeout(this.#timer);
    const active = detector.userState === "active" && detector.screenState === "unlocked";
    this.#become(active);
    if (active) this.#timer = setInterval(() => this.#report(true), AGAIN);
  }
}

// detectable reports whether the browser has the Idle Detection API.
export function detectable() {
  return "IdleDetector" in globalThis;
}

// detectionGranted reports whether the user allowed it before.
export async function detectionGranted() {
  if (!detectable()) return false;
  const permission = await navigator.permissions.query({ name: "idle-detection" }).catch(() => ({}));
  return permission.state === "granted";
}
