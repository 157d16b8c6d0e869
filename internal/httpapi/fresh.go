package httpapi

import (
	"net/url"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Parameters of reads of presence.
const (
	consistencyParam = "consistency"
	atLeastParam     = "at_least"
)

// cursorHeader has the cursor of a write to a user's presence, for at_least of a read.
const cursorHeader = "Presence-Cursor"

// reach makes later reads of this request as new as its parameters require. It precedes all
// of them because users and groups must be as new as their presence.
func (a *API) reach(c *call, q url.Values) error {
	fresh, err := a.freshness(c, q)
	if err != nil || fresh == (store.Freshness{}) {
		return err
	}
	return a.Views.Reach(c.r.Context(), fresh)
}

func (a *API) freshness(c *call, q url.Values) (fresh store.Freshness, err error) {
	if q.Has(consistencyParam) {
		if q.Get(consistencyParam) != "strong" {
			return fresh, &presence.FieldError{Field: consistencyParam, Reason: `must be "strong"`}
		}
		fresh.Strong = true
	}
	if q.Has(atLeastParam) {
		fresh.AtLeast, err = a.Cursors.StoreCursor(c.r.Context(), q.Get(atLeastParam))
	}
	return fresh, err
}

// setCursorHeader sets the header of a write to a user's record.
func (a *API) setCursorHeader(c *call, record *store.Record) {
	// Without the key of cursors, the write is still a success.
	if text, err := a.Cursors.WriteCursor(c.r.Context(), record); err == nil {
		header(c.w, cursorHeader, text)
	}
}
