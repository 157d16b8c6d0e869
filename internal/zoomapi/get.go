package zoomapi

import (
	"net/http"
	"strconv"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
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
	_, _ = w.Write(a.appendStatus(make([]byte, 0, 96), &view, id == p.User)) // a failed write ends the connection
	return nil
}

const jsonType = "application/json"

// jsonContent is shared by all responses and must not be changed.
var jsonContent = []string{jsonType}

// appendStatus writes the response. For the user's own do-not-disturb it includes the
// end.
func (a *API) appendStatus(b []byte, v *view.View, self bool) []byte {
	b = append(b, `{"status":"`...)
	b = append(b, StatusWord(v.Presence.Status)...)
	b = append(b, '"')
	if self {
		if until, ok := doNotDisturbUntil(v); ok {
			b = appendEnd(b, until, presence.InstantOf(a.Clock()))
		}
	}
	return append(b, "}\n"...)
}

// doNotDisturbUntil is the end of the user's manual do-not-disturb, if that is shown.
func doNotDisturbUntil(v *view.View) (presence.Instant, bool) {
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

// appendEnd rounds the end up to a second, so that a request at that time finds it over.
func appendEnd(b []byte, until, now presence.Instant) []byte {
	const almost = time.Second - time.Microsecond
	b = append(b, `,"end_time":"`...)
	b = until.Add(almost).Time().Truncate(time.Second).AppendFormat(b, "2006-01-02T15:04:05Z")
	b = append(b, `","remaining_time":`...)
	return strconv.AppendInt(b, int64(max(0, until.Sub(now)+almost)/time.Second), 10)
}
