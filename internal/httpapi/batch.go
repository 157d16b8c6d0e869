package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// batchWorkers is how many refreshes of one batch are published at once. They are
// enough to share commit groups.
const batchWorkers = 256

// refreshMany serves POST /v1/sessions/refresh. Its body may be as large as a
// query's: a thousand items do not fit into less.
func (a *API) refreshMany(c *call, body *api.SessionRefresh) error {
	if err := checkBatch(body.Sessions); err != nil {
		return err
	}
	results := make([]api.RefreshResult, len(body.Sessions))
	work := make(chan int)
	var group sync.WaitGroup
	for range min(batchWorkers, len(results)) {
		group.Go(func() {
			for i := range work {
				results[i] = a.refreshItem(c, &body.Sessions[i])
			}
		})
	}
	for i := range results {
		work <- i
	}
	close(work)
	group.Wait()
	if slices.ContainsFunc(results, func(r api.RefreshResult) bool { return r.Status == http.StatusOK }) {
		a.setCursorHeader(c, &store.Record{}) // the cursor covers all that this node has written
	}
	return c.writeBody(http.StatusOK, &api.RefreshResults{Results: results})
}

// checkBatch refuses a session that is in the batch twice, because items are applied
// concurrently, in no defined order.
func checkBatch(items []api.RefreshItem) error {
	if items == nil {
		return Required("sessions")
	}
	if len(items) == 0 || len(items) > api.MaxRefreshItems {
		return &presence.FieldError{Field: "sessions", Reason: "must have 1 to 1000 items"}
	}
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		switch {
		case item.ID == "":
			return Required(fmt.Sprintf("sessions[%d].id", i))
		case seen[item.ID]:
			return &presence.FieldError{Field: fmt.Sprintf("sessions[%d].id", i), Reason: "is in the batch already"}
		}
		seen[item.ID] = true
	}
	return nil
}

func (a *API) refreshItem(c *call, item *api.RefreshItem) api.RefreshResult {
	session, err := a.refreshOne(c, item)
	if err != nil {
		p := Problem(asNoSession(err))
		p.Instance = wire.RequestID(c.w)
		return api.RefreshResult{ID: item.ID, Status: p.Status, Problem: p}
	}
	return api.RefreshResult{ID: item.ID, Status: http.StatusOK, EndsAt: at(session.EndsAt)}
}

func (a *API) refreshOne(c *call, item *api.RefreshItem) (*presence.Session, error) {
	user, id, err := parseSessionRef(item.ID)
	if err != nil {
		return nil, err
	}
	if !c.p.MayFor(auth.SessionWrite, user) {
		return nil, presence.ErrUnknownSession
	}
	began, event := a.now(), presence.Refresh{Session: id, Activity: Activity(item.Active)}
	u := store.User{Account: c.p.Account, ID: user}
	result, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), event)
	if err != nil {
		return nil, err
	}
	session, ok := sessionOf(result.Record.State, id)
	if !ok {
		return nil, presence.ErrUnknownSession
	}
	return a.withRefresh(session, &event, began), nil
}
