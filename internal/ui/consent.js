// What the pages share that ask a person whether an app may act for them: requests with the
// browser's sign-in, and the question in words.

const byId = (id) => document.getElementById(id);

// Refusal is a problem that the server answered.
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || "The server does not respond. Try again.");
    this.status = status;
  }
}

// call sends a request as the person who is signed in with this browser.
export async function call(method, path, body) {
  const options = { method, credentials: "same-origin", cache: "no-store", headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(0, {});
  }
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

// signIn has the person sign in and then return to this page.
export function signIn() {
  location.replace("/signin?next=" + encodeURIComponent(location.pathname + location.search));
}

// fail shows why there is no question.
export function fail(err) {
  if (err.status === 401) {
    signIn();
    return;
  }
  const problem = byId("problem");
  problem.textContent = err.message;
  problem.hidden = false;
}

// ask shows the question, and calls decide with the answer. me is from GET /v1/me.
export function ask(request, me, decide) {
  byId("problem").hidden = true;
  byId("title").textContent = `Allow ${request.app_name}?`;
  byId("person").textContent = me.display_name || me.email;
  byId("account").textContent = request.account;
  byId("allows").replaceChildren(...request.allows.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
  const buttons = [byId("allow"), byId("deny")];
  const answer = (allow) => async () => {
    for (const b of buttons) b.disabled = true;
    try {
      await decide(allow);
    } catch (err) {
      for (const b of buttons) b.disabled = false;
      fail(err);
    }
  };
  byId("allow").onclick = answer(true);
  byId("deny").onclick = answer(false);
  byId("question").hidden = false;
  byId("title").tabIndex = -1;
  byId("title").focus();
}
