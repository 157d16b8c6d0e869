// The user's own note, below the controls: it appears after them and must not move them.

import { Alert, html, useAction } from "../components.js";
import { clock } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/me.js";

// OwnNote says of the user's own note what is not shown above, and removes it.
export function OwnNote({ shown, note, onChanged }) {
  const act = useAction();
  const remove = () => act.run(async () => {
    await client.delete("/v1/users/me/note");
    onChanged();
  });
  const until = note.until ? texts.noteUntil(clock(note.until)) : texts.ownNote;
  return html`<p id="own-note" class="quiet spread"><span>${shown === note.text ? until : texts.ownNoteHidden(note.text)}</span>
    <button type="button" id="remove-note" class="small" disabled=${act.busy} onClick=${remove}>${texts.removeNote}</button></p>
    <${Alert} id="note-problem">${act.problem}<//>`;
}
