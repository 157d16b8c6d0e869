package httpapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) query(c *call, body *api.PresenceQuery) error {
	if body.Users == nil {
		return Required("users")
	}
	if n := len(body.Users); n == 0 || n > api.MaxQueryUsers {
		return &presence.FieldError{Field: "users", Reason: "must have 1 to 10000 items"}
	}
	q, err := c.query(consistencyParam, atLeastParam)
	if err != nil {
		return err
	}
	var answer []byte
	err = a.withTurn(c, len(body.Users), func() (err error) {
		if err := a.reach(c, q); err != nil {
			return err
		}
		answer, err = a.queryPresence(c, body.Users)
		return err
	})
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, answer)
}

// queryPresence builds the response to a query.
func (a *API) queryPresence(c *call, asked []string) ([]byte, error) {
	q, err := a.resolveAll(c, asked)
	if err != nil {
		return nil, err
	}
	views, cursor, err := a.Views.Query(c.r.Context(), c.p.Account, q.ids, c.p)
	if err != nil {
		return nil, err
	}
	if views, err = a.addUnrecorded(c, q, views); err != nil {
		return nil, err
	}
	text, err := a.Cursors.ReadCursor(c.r.Context(), cursor)
	if err != nil {
		return nil, err
	}
	return appendPresences(q, views, text), nil
}

// queriedUsers are the users that a query names, with repetitions.
type queriedUsers struct {
	ids     []presence.UserID
	refs    []string // as the query names each of ids
	unknown []string
}

func (q *queriedUsers) add(id presence.UserID, ref string) {
	q.ids, q.refs = append(q.ids, id), append(q.refs, ref)
}

func (a *API) resolveAll(c *call, asked []string) (*queriedUsers, error) {
	q := &queriedUsers{ids: make([]presence.UserID, 0, len(asked)), refs: make([]string, 0, len(asked))}
	for _, ref := range asked {
		id, err := a.resolve(c, ref)
		switch {
		case err == nil:
			q.add(id, ref)
		case errors.Is(err, directory.ErrNoUser):
			q.unknown = append(q.unknown, ref)
		default:
			return nil, err
		}
	}
	return q, nil
}

// addUnrecorded adds the users of the directory who have no presence record yet, and
// moves those who do not exist to unknown.
func (a *API) addUnrecorded(c *call, q *queriedUsers, views []view.View) ([]view.View, error) {
	if len(views) == len(q.ids) {
		return views, nil
	}
	found := queriedUsers{unknown: q.unknown}
	all := make([]view.View, 0, len(q.ids))
	for i, id := range q.ids {
		view := view.View{User: id}
		if len(views) > 0 && views[0].User == id {
			view, views = views[0], views[1:]
		} else if err := a.checkExists(c, store.User{Account: c.p.Account, ID: id}); errors.Is(err, directory.ErrNoUser) {
			found.unknown = append(found.unknown, q.refs[i])
			continue
		} else if err != nil {
			return nil, err
		}
		found.add(id, q.refs[i])
		all = append(all, view)
	}
	*q = found
	return all, nil
}

// appendPresences writes an api.Presences by hand, because package json would take
// too long for ten thousand users.
func appendPresences(q *queriedUsers, views []view.View, cursor string) []byte {
	const each = 160
	b := make([]byte, 0, 128+each*len(views)+32*len(q.unknown))
	b = append(b, `{"cursor":"`...)
	b = wire.AppendJSON(b, cursor)
	b = append(b, `","presences":[`...)
	for i := range views {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendNamed(b, views[i].User, &views[i].Presence, q.refs[i])
	}
	return append(wire.AppendStrings(append(b, `],"unknown":`...), q.unknown), '}')
}
