package zoomapi

import (
	"net/http"
	"strconv"
	"time"

	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// getStatus is Zoom's "Get a user presence status".
func (a *API) getStatus(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayRead)
	if err != nil {
		return err
	}
	id, err := a.user(r, p)
	if err != nil {
		return err
	}
	view, _, err := a.Views.Read(r.Context(), p.Account, id, p)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = jsonContent
	if view.State != nil {
		h["Etag"] = []string{wire.ETag(view.State.Revision)}
	}
	body := statusBodies[view.Presence.Status]
	if p.User != "" {
		if until, ok := doNotDisturbUntil(&view); ok {
			body = appendDoNotDisturb(make([]byte, 0, 96), until, presence.InstantOf(a.Clock()))
		}
	}
	_, _ = w.Write(body) // nobody is there to tell
	return nil
}

// Shared by all answers: nobody writes into one.
var (
	jsonContent  = []string{"application/json"}
	statusBodies = makeStatusBodies()
)

func makeStatusBodies() (bodies [len(words)][]byte) {
	for s := range bodies {
		bodies[s] = []byte(`{"status":"` + words[s].get + `"}`)
	}
	return bodies
}

// doNotDisturbUntil is the end of the user's own do-not-disturb, if that is what
// shows.
func doNotDisturbUntil(v *notify.View) (presence.Instant, bool) {
	if v.Presence.Status != presence.DoNotDisturb || v.State == nil {
		return 0, false
	}
	for i := range v.State.Claims {
		c := &v.State.Claims[i]
		if c.ID == presence.ManualClaim {
			return c.Until, c.Status == presence.DoNotDisturb && !c.Until.IsZero()
		}
	}
	return 0, false
}

// appendDoNotDisturb rounds the end up to a second, so that whoever comes back
// then finds it over.
func appendDoNotDisturb(b []byte, until, now presence.Instant) []byte {
	end := until.Add(time.Second - time.Microsecond).Time().Truncate(time.Second)
	left := max(0, until.Sub(now)+time.Second-time.Microsecond) / time.Second
	b = append(b, `{"status":"`...)
	b = append(b, words[presence.DoNotDisturb].get...)
	b = append(b, `","end_time":"`...)
	b = end.AppendFormat(b, "2006-01-02T15:04:05Z")
	b = append(b, `","remaining_time":`...)
	b = strconv.AppendInt(b, int64(left), 10)
	return append(b, '}')
}
