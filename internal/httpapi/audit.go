package httpapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) auditRoutes() []route {
	read := needsAdmin(auth.AuditRead)
	return []route{
		{"GET", "/v1/audit", read, a.listEvents},
		{"GET", "/v1/audit/checkpoints", read, a.listCheckpoints},
		{"GET", "/v1/audit/export", read, a.exportEvents},
	}
}

// listEvents serves GET /v1/audit.
func (a *API) listEvents(c *call) error {
	q, err := a.eventQuery(c)
	if err != nil {
		return err
	}
	var page audit.Page
	err = a.withTurn(c, quota.LightRead+1, func() (err error) {
		page, err = a.Events.Page(c.r.Context(), c.p.Account, q)
		return err
	})
	if err != nil {
		return err
	}
	list := &api.AuditEvents{Events: make([]json.RawMessage, len(page.Records))}
	for i := range page.Records {
		list.Events[i] = page.Records[i].Line
	}
	list.Older, list.Newer = pageMark(store.Position(page.Older)), pageMark(store.Position(page.Newer))
	return c.writeDigested(list)
}

func (a *API) eventQuery(c *call) (*audit.Query, error) {
	values, err := c.query("limit", "before", "after", "from", "to", "action", "user", "denied", "order")
	if err != nil {
		return nil, err
	}
	pg, err := pageOf(values, "after")
	if err != nil {
		return nil, err
	}
	q := &audit.Query{Limit: pg.limit, Action: values.Get("action")}
	before, err := parsePageMark(values.Get("before"))
	if err != nil {
		return nil, err
	}
	after, err := parsePageMark(pg.after)
	if err != nil {
		return nil, err
	}
	if before != 0 && after != 0 {
		return nil, &presence.FieldError{Field: "before", Reason: "cannot be given together with after"}
	}
	q.Before, q.After = uint64(before), uint64(after)
	if q.Denied, err = Flag(values, "denied"); err != nil {
		return nil, err
	}
	switch values.Get("order") {
	case "", "newest":
	case "oldest":
		q.Oldest = true
	default:
		return nil, &presence.FieldError{Field: "order", Reason: `must be "newest" or "oldest"`}
	}
	if values.Has("user") {
		if q.User, err = a.eventUser(c, values.Get("user")); err != nil {
			return nil, err
		}
	}
	q.From, q.To, err = timeRange(values)
	return q, err
}

// eventUser is the user whose events are asked for. An id may be that of a user who was
// deleted.
func (a *API) eventUser(c *call, ref string) (presence.UserID, error) {
	if presence.CheckID("user", ref) == nil && ref != "me" && !strings.Contains(ref, "@") {
		return presence.UserID(ref), nil
	}
	return a.resolve(c, ref)
}

// listCheckpoints serves GET /v1/audit/checkpoints.
func (a *API) listCheckpoints(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	all, next, err := a.Events.Checkpoints(c.r.Context(), c.p.Account, pg.after, pg.limit)
	if err != nil {
		return err
	}
	list := &api.AuditCheckpoints{Checkpoints: make([]json.RawMessage, len(all)), Next: next}
	for i, one := range all {
		list.Checkpoints[i] = one.Line()
	}
	return c.writeDigested(list)
}

// slowExport is how long an export waits for a client that does not read.
const slowExport = time.Minute

// exportEvents serves GET /v1/audit/export. An export that fails is cut short, so that its
// last line is not the checkpoint of the export.
func (a *API) exportEvents(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	export, err := a.Events.Begin(c.r.Context(), c.p.Account, wire.Actor(c.w, c.p))
	if err != nil {
		return err
	}
	header(c.w, "Content-Type", "application/x-ndjson")
	c.setPrivate()
	c.w.WriteHeader(http.StatusOK)
	to := bufio.NewWriterSize(&patientWriter{c.w, http.NewResponseController(c.w)}, 64<<10)
	if err := export.Write(c.r.Context(), to); err != nil {
		return err
	}
	return to.Flush()
}

// A patientWriter waits for a client, but not for ever.
type patientWriter struct {
	to   http.ResponseWriter
	conn *http.ResponseController
}

func (w *patientWriter) Write(p []byte) (int, error) {
	err := w.conn.SetWriteDeadline(time.Now().Add(slowExport))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.to.Write(p)
}
