package zoomapi

import (
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// deviceWord is a client's type as the app of an event has it.
func deviceWord(c presence.ClientType) string {
	switch c {
	case presence.Mobile, presence.Pad, "pzr":
		return string(c)
	default:
		return string(presence.Desktop)
	}
}

// clientWord is a client's type as sign-ins have it. Zoom names the operating system
// there, which a session does not state: it stands for the kind of device. Clients that
// state one of these words as their type are passed on.
func clientWord(c presence.ClientType) string {
	switch c {
	case "mac", "win", "linux", "chromeos", "iphone", "android", "ipad", "browser":
		return string(c)
	case presence.Web:
		return "browser"
	case presence.Mobile:
		return "android"
	case presence.Pad:
		return "ipad"
	default:
		return "win"
	}
}

// loginWork is the login type of an account of one's own, as opposed to one of Google,
// Facebook or single sign-on.
const loginWork = 100

// addSessions adds the sessions that ended and began.
func (w *eventWriter) addSessions() {
	for i := range w.entry.Ended {
		w.addSession(eventSignedOut, &w.entry.Ended[i])
	}
	for i := range w.entry.Began {
		w.addSession(eventSignedIn, &w.entry.Began[i])
	}
}

func (w *eventWriter) addSession(eventType string, s *store.SessionFacts) {
	who := w.subject()
	w.add(eventType, &eventPayload{Object: struct {
		ID         presence.UserID `json:"id"`
		ClientType string          `json:"client_type"`
		DateTime   string          `json:"date_time"`
		Email      string          `json:"email"`
		Version    string          `json:"version"`
		LoginType  int             `json:"login_type"`
	}{who.ID, clientWord(s.Client), who.DateTime, who.Email, s.Version, loginWork}})
}
