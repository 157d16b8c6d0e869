package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/usersheet"
	"porchlight.dev/porchlight/internal/wire"
)

// exportPage is how many users an export reads at once.
const exportPage = 1000

// exportUsers serves GET /v1/users/export: all users, or those who match the filters of
// GET /v1/users, as CSV or as JSON lines.
func (a *API) exportUsers(c *call) error {
	q, err := c.query(append([]string{"format"}, userFilters...)...)
	if err != nil {
		return err
	}
	format := q.Get("format")
	switch format {
	case "":
		format = "csv"
	case "csv", "jsonl":
	default:
		return &presence.FieldError{Field: "format", Reason: "must be csv or jsonl"}
	}
	filter, err := userFilterOf(q)
	if err != nil {
		return err
	}
	users, next, err := a.exportedPage(c, &filter, "")
	if err != nil {
		return err
	}
	facts := audit.Fields{"format": format}
	if filter != (directory.Filter{}) {
		facts["filtered"] = true
	}
	e := &audit.Event{Action: "user.export", By: wire.Actor(c.w, c.p), After: facts}
	if err := a.Audit.Record(c.r.Context(), c.p.Account, e); err != nil {
		return err
	}
	c.setPrivate()
	put, flush := c.exportTo(format)
	for {
		for i := range users {
			put(&users[i])
		}
		if err := flush(); err != nil {
			return nil //nolint:nilerr // the client is gone
		}
		if next == "" {
			return nil
		}
		if users, next, err = a.exportedPage(c, &filter, next); err != nil {
			panic(http.ErrAbortHandler) // so that the client does not take a part for the whole
		}
	}
}

// exportedPage reads users above after who match. It may find none before the end.
func (a *API) exportedPage(c *call, f *directory.Filter, after presence.UserID) (users []directory.User, next presence.UserID, err error) {
	err = a.withTurn(c, readFor(f, exportPage), func() (err error) {
		users, next, err = a.Directory.Search(c.r.Context(), c.p.Account, f, after, exportPage)
		return err
	})
	return users, next, err
}

// exportTo begins the response, and returns what writes a user and what sends those that
// were written.
func (c *call) exportTo(format string) (put func(*directory.User), flush func() error) {
	out := http.NewResponseController(c.w)
	send := func() error {
		_ = out.SetWriteDeadline(time.Now().Add(importTime)) // the write reports what is wrong
		return out.Flush()
	}
	if format == "jsonl" {
		header(c.w, "Content-Type", "application/x-ndjson")
		header(c.w, "Content-Disposition", `attachment; filename="users.jsonl"`)
		enc := json.NewEncoder(c.w)
		enc.SetEscapeHTML(false)
		return func(u *directory.User) { _ = enc.Encode(asUser(u)) }, send // a later flush reports it
	}
	header(c.w, "Content-Type", "text/csv; charset=utf-8")
	header(c.w, "Content-Disposition", `attachment; filename="users.csv"`)
	w := usersheet.NewWriter(c.w)
	return w.Write, func() error {
		if err := w.Flush(); err != nil {
			return err
		}
		return send()
	}
}
