package httpapi

import (
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

// A watch is accessible to its owner alone, whatever the scope of the token. An
// account-level token acts as the account's owner.
func (a *API) watchRoutes() []route {
	return []route{
		{"POST", "/v1/watches", needsScope(auth.PresenceRead), withBody(a.createWatch)},
		{"GET", "/v1/watches", needsScope(auth.PresenceRead), a.listWatches},
		{"GET", "/v1/watches/{watch}", needsScope(auth.PresenceRead), a.readWatch},
		{"DELETE", "/v1/watches/{watch}", needsScope(auth.PresenceRead), a.deleteWatch},
	}
}

func (a *API) createWatch(c *call, body *api.CreateWatch) error {
	asked, err := parseWatch(body, a.Clock())
	if err != nil {
		return err
	}
	if err := c.checkCreate(); err != nil {
		return err
	}
	asked.Account = c.p.Account
	if asked.Owner, err = a.resolve(c, "me"); err != nil {
		return err
	}
	if asked.Target, err = a.resolve(c, body.User); err != nil {
		return err
	}
	w, err := a.Watches.Create(c.r.Context(), asked)
	if err != nil {
		return err
	}
	header(c.w, "Location", "/v1/watches/"+w.ID)
	return c.writeBody(http.StatusCreated, AsWatch(&w))
}

// parseWatch reads a body, without the users that it names.
func parseWatch(body *api.CreateWatch, now time.Time) (w watch.Watch, err error) {
	if body.User == "" {
		return w, Required("user")
	}
	w.Until = presence.Available
	if body.UntilStatus != "" {
		var ok bool
		if w.Until, ok = presence.ParseStatus(string(body.UntilStatus)); !ok {
			return w, &presence.FieldError{Field: "until_status", Reason: "must be one of " + statusWords + ", offline"}
		}
	}
	w.Expires, err = watchExpiry(body, now)
	return w, err
}

func watchExpiry(body *api.CreateWatch, now time.Time) (time.Time, error) {
	lasts := watch.DefaultDuration
	const most = int64(watch.MaxDuration / time.Second)
	switch asked := body.ExpiresInSeconds; {
	case asked != nil && !body.Expires.IsZero():
		return now, &presence.FieldError{Field: "expires", Reason: "cannot be given together with expires_in_seconds"}
	case asked != nil && (*asked < 1 || *asked > most):
		return now, &presence.FieldError{Field: "expires_in_seconds", Reason: "must be between 1 and 604800 (7 days)"}
	case asked != nil:
		lasts = time.Duration(*asked) * time.Second
	case !body.Expires.IsZero():
		lasts = body.Expires.Sub(now)
	}
	if lasts < time.Second || lasts > watch.MaxDuration {
		return now, &presence.FieldError{Field: "expires", Reason: "must be from 1 second to 7 days ahead"}
	}
	return now.Add(lasts).UTC().Truncate(time.Millisecond), nil
}

func (a *API) listWatches(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	// An account-level token of an account without an owner has no watches.
	watches, err := a.Watches.List(c.r.Context(), c.p.Account, c.p.User, pg.After, pg.Limit+1)
	if err != nil {
		return err
	}
	var list api.Watches
	list.Watches, list.Next = Fill(pg, watches, func(w *watch.Watch) api.Watch { return *AsWatch(w) }, func(w *api.Watch) string { return w.ID })
	return c.writeDigested(&list)
}

func (a *API) readWatch(c *call) error {
	w, err := a.Watches.Get(c.r.Context(), c.p.Account, c.p.User, c.r.PathValue("watch"))
	if err != nil {
		return err
	}
	return c.writeVersion(watchTag(&w), AsWatch(&w))
}

func (a *API) deleteWatch(c *call) error {
	check := func(w *watch.Watch) error { return c.checkConditions(watchTag(w), true) }
	return c.finish(a.Watches.Delete(c.r.Context(), c.p.Account, c.p.User, c.r.PathValue("watch"), check))
}

func watchTag(w *watch.Watch) string { return tagOf("", AsWatch(w)) }

// AsWatch is w on the wire, in answers and on streams.
func AsWatch(w *watch.Watch) *api.Watch {
	wired := &api.Watch{
		ID: w.ID, User: string(w.Target), UntilStatus: api.Status(w.Until.String()),
		Expires: api.At(w.Expires), Created: api.At(w.Created), Fired: api.At(w.Fired),
	}
	if !w.Fired.IsZero() {
		wired.Status, wired.Note = api.Status(w.Status.String()), w.Note
	}
	return wired
}
