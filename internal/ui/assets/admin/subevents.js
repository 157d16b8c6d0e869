// The types of events that each form has. docs/events.md describes them.

const native = ["presence.changed", "session.started", "session.ended", "note.changed", "user.created", "user.updated", "user.activated", "user.deactivated", "user.deleted"];
const zoom = ["user.presence_status_updated", "user.signed_in", "user.signed_out", "user.personal_notes_updated", "user.created", "user.updated", "user.activated", "user.deactivated", "user.deleted"];

export function eventsOf(form) {
  if (form === "zoom") return zoom;
  return form.startsWith("cloudevents") ? native.map((name) => "dev.porchlight." + name) : native;
}
