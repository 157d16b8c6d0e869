// The page /me: what others see of the user, setting it, and everything that explains it.

import { useEffect, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Alert, html } from "./components.js";
import { may } from "./session.js";
import { Absences } from "./me/absences.js";
import { hideBadge, showBadge } from "./me/badge.js";
import { Choice } from "./me/choice.js";
import { ContactList } from "./me/contactlist.js";
import { Devices } from "./me/devices.js";
import { useExplanation } from "./me/explanation.js";
import { Fired, useFired } from "./me/fired.js";
import { History } from "./me/history.js";
import { leaving, useSession } from "./me/page.js";
import { usePeople } from "./me/people.js";
import { Connection, Presence, Shown } from "./me/shown.js";
import { Visibility } from "./me/visibility.js";
import { useWatches } from "./me/watches.js";
import texts from "./texts/me.js";

function Me({ me, leave }) {
  const people = usePeople();
  const watches = useWatches();
  const fired = useFired(people, (watch) => watches.forget(watch.id));
  const { session, activity } = useSession({ me, leave, onWatch: fired.add });
  const { own } = session;
  const explanation = useExplanation(own?.revision);
  const [hint, setHint] = useState("");
  useEffect(() => {
    if (own) showBadge(own.status);
  }, [own?.status]);
  useEffect(() => hideBadge, []);
  useEffect(() => setHint(""), [own?.status]);

  return html`<header><h1>${texts.title}</h1><${Connection} session=${session} stale=${session.connection !== "connected" && own} /></header>
    <${Alert}>${problemOf(session)}<//>
    ${session.replaced && html`<p id="replaced"><button type="button" id="sign-in-again" onClick=${() => session.signIn()}>${texts.signInAgain}</button></p>`}
    ${session.stopped && html`<p id="again"><button type="button" id="reconnect" onClick=${() => session.start()}>${texts.reconnect}</button></p>`}
    <${Fired} fired=${fired} people=${people} />
    <div id="self" class="me">
      <div class="stack">
        <${Shown} session=${session} explanation=${explanation} />
        <${Choice} own=${own} hint=${hint} setHint=${setHint} explanation=${explanation} />
        <${Absences} explanation=${explanation} />
      </div>
      <div class="stack">
        ${may(me, "contact:read") && html`<${ContactList} me=${me} session=${session} people=${people} watches=${watches} fired=${fired} />`}
        ${may(me, "contact:read") && html`<${Visibility} me=${me} people=${people} />`}
        <${Devices} session=${session} me=${me} />
      </div>
      <${History} revision=${own?.revision} />
      <${Presence} session=${session} activity=${activity} />
    </div>`;
}

function problemOf({ replaced, stopped, problem }) {
  if (replaced) return texts.replaced;
  if (stopped) return stopped;
  return problem.code === "insufficient-scope" ? texts.mayNotSignIn : problem.detail;
}

mount(Me, { leaving });
