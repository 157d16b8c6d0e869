package httpapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (a *API) erasureRoutes() []route {
	return []route{{"GET", "/v1/users/{user}/erasure", needsAdmin(auth.DirectoryRead), a.readErasure}}
}

// eraseUser deletes a user and has the user's log entries erased. A user who was deleted
// before can still be erased. The erasure is on record before the user is gone, so that a
// client can repeat the request until both are done.
func (a *API) eraseUser(c *call, u store.User) error {
	var e erasure.Erasure
	request := func() (err error) {
		e, err = a.Erasures.Request(c.r.Context(), u)
		return err
	}
	err := a.Provisioner.Delete(c.r.Context(), c.by(), u.ID, c.userCondition(), request)
	if errors.Is(err, directory.ErrNoUser) {
		err = a.checkDeleted(c, u)
		if err == nil {
			err = request()
		}
	}
	if err == nil {
		err = a.record(c, "erasure.request", "user/"+string(u.ID), nil, nil)
	}
	if err != nil {
		return err
	}
	header(c.w, "Location", "/v1/users/"+string(u.ID)+"/erasure")
	return c.writeBody(http.StatusAccepted, asErasure(&e))
}

// checkDeleted returns an error unless the user once existed and was deleted.
func (a *API) checkDeleted(c *call, u store.User) error {
	records, _, err := a.Views.Store.Read(c.r.Context(), []store.User{u}, store.Freshness{Strong: true})
	if err == nil && (len(records) == 0 || records[0].State.UserState != presence.UserDeleted) {
		err = directory.ErrNoUser
	}
	return err
}

// readErasure serves GET /v1/users/{user}/erasure. The user is gone, so only an id names
// one.
func (a *API) readErasure(c *call) error {
	u, err := a.targetUser(c)
	var e erasure.Erasure
	if err == nil {
		e, err = a.Erasures.Find(c.r.Context(), u)
	}
	if errors.Is(err, directory.ErrNoUser) {
		err = erasure.ErrNotFound
	}
	if err != nil {
		return err
	}
	return c.writeDigested(asErasure(&e))
}

func asErasure(e *erasure.Erasure) *api.Erasure {
	wired := &api.Erasure{User: string(e.User.ID), State: api.ErasurePending, Requested: api.At(e.Requested), Done: api.At(e.Done), Delay: e.Delay}
	if !e.Done.IsZero() {
		wired.State = api.ErasureDone
	}
	return wired
}
