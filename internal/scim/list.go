package scim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/internal/wire"
)

// Bounds of list requests.
const (
	defaultCount = 100
	maxCount     = 1000
	// defaultScanned is how many resources a request reads at most if no index selects
	// them.
	defaultScanned = 250_000
	scanStep       = 500
)

// A query is what a list request asks for.
type query struct {
	filter       filter // nil: all
	start, count int    // of the page; the first item is 1
	projection   *projection
}

// readQuery reads a list request from the URL.
func (c *call) readQuery(t *resourceType) (*query, error) {
	q, err := wire.Query(c.r)
	if err != nil {
		return nil, err
	}
	for name, values := range q {
		if len(values) > 1 {
			return nil, invalid(invalidValue, "The parameter %q is given more than once.", name)
		}
	}
	asked := &query{start: 1, count: defaultCount, projection: t.projectionOf(q)}
	if err := asked.page(q); err != nil {
		return nil, err
	}
	if given := q.Get("filter"); strings.TrimSpace(given) != "" || q.Has("filter") {
		asked.filter, err = t.parseFilter(given)
	}
	return asked, err
}

// page reads startIndex and count. What is out of range is the nearest that is in it.
func (asked *query) page(q url.Values) error {
	for _, parameter := range []struct {
		name string
		into *int
		most int
	}{{"startIndex", &asked.start, 1 << 30}, {"count", &asked.count, maxCount}} {
		given := q.Get(parameter.name)
		if given == "" {
			continue
		}
		n, err := strconv.Atoi(given)
		if err != nil {
			return invalid(invalidValue, "The parameter %q must be a whole number.", parameter.name)
		}
		*parameter.into = min(n, parameter.most)
	}
	asked.start, asked.count = max(asked.start, 1), max(asked.count, 0)
	return nil
}

// readSearch reads a list request from the body of a POST (RFC 7644, section 3.4.3).
func (c *call) readSearch(t *resourceType) (*query, error) {
	body, err := readObject(c.w, c.r)
	if err == nil {
		err = checkMessage(body, searchURN)
	}
	if err != nil {
		return nil, err
	}
	q := make(url.Values)
	for _, name := range []string{"startIndex", "count"} {
		if given, ok := member(body, name); ok {
			n, isNumber := given.(float64)
			if !isNumber || n != float64(int(n)) {
				return nil, wrongType(name, "a whole number")
			}
			q.Set(name, strconv.Itoa(int(n)))
		}
	}
	for _, name := range []string{"attributes", "excludedAttributes"} {
		given, _ := member(body, name)
		listed, _ := given.([]any)
		for _, item := range listed {
			text, _ := item.(string)
			q.Set(name, q.Get(name)+","+text)
		}
	}
	asked := &query{start: 1, count: defaultCount, projection: t.projectionOf(q)}
	if err := asked.page(q); err != nil {
		return nil, err
	}
	if given, ok := member(body, "filter"); ok {
		text, isText := given.(string)
		if !isText {
			return nil, wrongType("filter", "a string")
		}
		asked.filter, err = t.parseFilter(text)
	}
	return asked, err
}

// A page collects the resources of one page of those that match a query.
type page[T any] struct {
	asked *query
	total int
	items []T
}

// add counts a resource that matches.
func (p *page[T]) add(item T) {
	p.total++
	if p.total >= p.asked.start && len(p.items) < p.asked.count {
		p.items = append(p.items, item)
	}
}

// writePage responds with a page.
func writePage[T any](c *call, p *page[T], resources []object) error {
	for i := range resources {
		resources[i] = p.asked.projection.of(resources[i])
	}
	return c.write(http.StatusOK, listOf(resources, p.total, p.asked.start))
}

// withTurn runs a read of all users or groups when it is the caller's turn.
func (a *API) withTurn(c *call, read func() error) error {
	done, err := a.Reads.Take(c.ctx(), c.p.TurnKey())
	if err != nil {
		return err
	}
	defer done()
	return read()
}

func (a *API) maxScanned() int {
	if a.MaxScanned > 0 {
		return a.MaxScanned
	}
	return defaultScanned
}

var errTooMany = invalid(tooMany, "The account has too many resources to read them all. Filter by id, userName, externalId, emails.value, or a group's displayName, with eq.")
