package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// A Page is the part of a listing that is asked for: at most Limit items, those
// above After.
type Page struct {
	Limit int
	After string
}

// page reads ?limit and ?after. Other parameters are refused.
func (c *call) page() (Page, error) {
	q, err := c.query("limit", "after")
	if err != nil {
		return Page{}, err
	}
	return PageOf(q, "after")
}

// PageOf reads ?limit and the parameter with the mark of the previous page.
func PageOf(q url.Values, mark string) (Page, error) {
	pg := Page{Limit: api.DefaultPage, After: q.Get(mark)}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > api.MaxPage {
			return Page{}, &presence.FieldError{Field: "limit", Reason: "must be a number from 1 to 1000"}
		}
		pg.Limit = n
	}
	if len(pg.After) > maxSessionRef {
		return Page{}, errPageCursor
	}
	return pg, nil
}

func (c *call) query(known ...string) (url.Values, error) { return Query(c.r, known...) }

// Query reads the parameters of the URL, of which only those known are allowed,
// and each once, except the filter by status.
func Query(r *http.Request, known ...string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := wire.Query(r)
	if err != nil {
		return nil, err
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, &presence.FieldError{Field: name, Reason: "is not a parameter of this route"}
		case len(values) > 1 && name != statusFilter:
			return nil, &presence.FieldError{Field: name, Reason: "is given more than once"}
		}
	}
	for _, name := range []string{"users", "user", "email"} {
		if q.Has(name) {
			q.Set(name, wire.QueryAddresses(r, name))
		}
	}
	return q, nil
}

// checkFilters refuses filters that are given and empty: a script whose variable is not
// set would otherwise get, or revoke, more than it asked for.
func checkFilters(q url.Values, names ...string) error {
	for _, name := range names {
		if q.Has(name) && q.Get(name) == "" {
			return &presence.FieldError{Field: name, Reason: "must not be empty"}
		}
	}
	return nil
}

// Flag reads a parameter that is true or false.
func Flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &presence.FieldError{Field: name, Reason: "must be true or false"}
	}
}

// Fill converts the first items to their wire form and returns the id after which
// the next page begins, or "" if there are no more.
func Fill[T, W any](pg Page, items []T, wired func(*T) W, id func(*W) string) (list []W, next string) {
	list = make([]W, 0, min(len(items), pg.Limit))
	for i := range items {
		if len(list) == pg.Limit {
			return list, id(&list[pg.Limit-1])
		}
		list = append(list, wired(&items[i]))
	}
	return list, ""
}

// itemsAbove returns the items whose id is above after. items are in order.
func itemsAbove[T any, ID ~string](items []T, after ID, id func(*T) ID) []T {
	return items[sort.Search(len(items), func(i int) bool { return id(&items[i]) > after }):]
}
