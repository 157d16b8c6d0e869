package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// query serves POST /v1/presence/query.
func (a *API) query(c *call) error {
	var body presenceQuery
	if err := c.read(wire.MaxQueryBody, &body); err != nil {
		return err
	}
	if n := len(body.Users); n == 0 || n > api.MaxQueryUsers {
		return &presence.FieldError{Field: "users", Reason: "must have 1 to 10000 items"}
	}
	q, err := a.mentioned(c, body.Users)
	if err != nil {
		return err
	}
	views, cursor, err := a.Views.Query(c.r.Context(), c.p.Account, q.ids, c.p)
	if err != nil {
		return err
	}
	if views, err = a.complete(c, q, views); err != nil {
		return err
	}
	return c.write(http.StatusOK, appendPresences(q, views, cursor))
}

// presenceQuery is an api.PresenceQuery that is read fast.
type presenceQuery struct {
	Users refs `json:"users"`
}

// refs are ids and e-mails. All share the memory of one text.
type refs []string

// UnmarshalJSON reads an array of strings that is known to be valid JSON.
func (all *refs) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if text[0] != '[' {
		return &presence.FieldError{Reason: "must be a list of ids or e-mails"}
	}
	*all = make(refs, 0, strings.Count(text, ",")+1)
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case ' ', '\t', '\r', '\n', ',', ']':
		case '"':
			end := closing(text, i)
			*all = append(*all, unquoted(text[i:end+1]))
			i = end
		default:
			return &presence.FieldError{Reason: "must be a list of ids or e-mails: item " + strconv.Itoa(len(*all)) + " is not text"}
		}
	}
	return nil
}

// closing is where the quote is that closes the one at i.
func closing(text string, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

func unquoted(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := wire.Unquote([]byte(quoted))
	return string(text)
}

// mentions are the users that a query names, each once.
type mentions struct {
	ids     []presence.UserID
	asked   map[presence.UserID]string // how, where not by id
	unknown []string
}

func (a *API) mentioned(c *call, refs []string) (*mentions, error) {
	q := &mentions{ids: make([]presence.UserID, 0, len(refs))}
	seen := make(map[presence.UserID]struct{}, len(refs))
	for _, ref := range refs {
		id, err := a.resolve(c, ref)
		if errors.Is(err, directory.ErrNoUser) {
			q.unknown = append(q.unknown, ref)
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, again := seen[id]; again {
			continue
		}
		seen[id] = struct{}{}
		q.ids = append(q.ids, id)
		if string(id) != ref {
			if q.asked == nil {
				q.asked = make(map[presence.UserID]string)
			}
			q.asked[id] = ref
		}
	}
	return q, nil
}

// complete adds the users whom the directory has and of whom nothing is
// recorded yet, and notes those who do not exist.
func (a *API) complete(c *call, q *mentions, views []notify.View) ([]notify.View, error) {
	if len(views) == len(q.ids) {
		return views, nil
	}
	all := make([]notify.View, 0, len(q.ids))
	for _, id := range q.ids {
		if len(views) > 0 && views[0].User == id {
			all, views = append(all, views[0]), views[1:]
			continue
		}
		err := a.known(c, store.User{Account: c.p.Account, ID: id})
		switch {
		case err == nil:
			all = append(all, notify.View{User: id})
		case errors.Is(err, directory.ErrNoUser):
			q.unknown = append(q.unknown, q.ref(id))
		default:
			return nil, err
		}
	}
	return all, nil
}

// ref is how the query named a user.
func (q *mentions) ref(id presence.UserID) string {
	if asked, ok := q.asked[id]; ok {
		return asked
	}
	return string(id)
}

// appendPresences writes an api.Presences by hand: ten thousand of them in a few
// milliseconds.
func appendPresences(q *mentions, views []notify.View, cursor store.Cursor) []byte {
	const each = 160
	b := make([]byte, 0, 128+each*len(views)+32*len(q.unknown))
	b = append(b, `{"cursor":"`...)
	b = wire.AppendJSON(b, cursor.String())
	b = append(b, `","presences":[`...)
	for i := range views {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendPresence(b, views[i].User, &views[i].Presence)
		if asked, ok := q.asked[views[i].User]; ok {
			b = append(b, `,"asked_as":"`...)
			b = append(wire.AppendJSON(b, asked), '"')
		}
		b = append(b, '}')
	}
	b = append(b, `],"unknown":[`...)
	for i, ref := range q.unknown {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(wire.AppendJSON(append(b, '"'), ref), '"')
	}
	return append(b, "]}"...)
}
