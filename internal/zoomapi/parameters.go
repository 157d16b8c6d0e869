package zoomapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// parameters are those of the URL. Unknown ones are passed over, as Zoom does.
type parameters struct{ url.Values }

// readParameters reads those of a route without numbered pages.
func readParameters(r *http.Request) (parameters, error) {
	q, err := readQuery(r)
	if err == nil {
		err = q.onePage()
	}
	return q, err
}

func readQuery(r *http.Request) (parameters, error) {
	values, err := wire.Query(r)
	return parameters{values}, err
}

// flag is a boolean, in any case: .NET writes "True".
func (q parameters) flag(name string) (bool, error) {
	switch strings.ToLower(q.Get(name)) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid(name, "It must be true or false.")
	}
}

// word reads a parameter that has one of these words; the first is the default.
func (q parameters) word(name string, words ...string) (string, error) {
	text := q.Get(name)
	if text == "" {
		return words[0], nil
	}
	for _, word := range words {
		if text == word {
			return word, nil
		}
	}
	return "", invalid(name, "It must be one of: "+strings.TrimPrefix(strings.Join(words, ", "), ", ")+".")
}

// size reads page_size.
func (q parameters) size(unless, most int) (int, error) {
	text := q.Get("page_size")
	if text == "" {
		return unless, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, invalid("page_size", "It must be a number from 1 to "+strconv.Itoa(most)+".")
	}
	return n, nil
}

// onePage refuses page numbers above 1: these lists continue with next_page_token, and a
// client that counts pages would get the first page for ever.
func (q parameters) onePage() error {
	if text := q.Get("page_number"); text != "" && text != "1" {
		return invalid("page_number", "This list has no numbered pages: continue with next_page_token.")
	}
	return nil
}

// wantsSameAccount reads contact_types, a comma-separated list of numbers, and reports
// whether it includes users of the same account.
func (q parameters) wantsSameAccount() (bool, error) {
	text := strings.Join(q.Values["contact_types"], ",")
	if text == "" {
		return true, nil
	}
	asked := false
	for number := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || n < 1 || n > 8 {
			return false, invalid("contact_types", "It must be numbers from 1 to 8.")
		}
		asked = asked || n == sameAccount
	}
	return asked, nil
}

// A part is which page of a listing is asked for. A page's token is bound to
// what was asked besides.
type part struct {
	size  int
	after presence.UserID
	bound string
}

func (a *API) part(p *auth.Principal, q parameters, size int, bound ...string) (part, error) {
	asked := part{size: size, bound: strings.Join(bound, "\x00")}
	var err error
	asked.after, err = a.parsePageToken(p, asked.bound, q.Get("next_page_token"))
	return asked, err
}

// A search is what GET /v2/contacts asks for.
type search struct {
	part
	key         string // in lower case
	status      string // active, inactive, or "" for both
	sameAccount bool
	presence    bool
}

func (a *API) readSearch(r *http.Request, p *auth.Principal) (s search, err error) {
	q, err := readParameters(r)
	if err != nil {
		return s, err
	}
	text := q.Get("search_key")
	if strings.Contains(text, "@") { // the "+" of an address is no space
		text = wire.QueryAddresses(r, "search_key")
	}
	if s.key = strings.ToLower(strings.TrimSpace(text)); s.key == "" {
		return s, invalid("search_key", "It is required.")
	}
	if s.presence, err = q.flag("query_presence_status"); err != nil {
		return s, err
	}
	if s.status, err = q.word("user_status", "", "active", "inactive"); err != nil {
		return s, err
	}
	if s.sameAccount, err = q.wantsSameAccount(); err != nil {
		return s, err
	}
	size, err := q.size(1, 25)
	if err != nil {
		return s, err
	}
	s.part, err = a.part(p, q, size, companyContacts, s.key, s.status, strconv.FormatBool(s.sameAccount))
	return s, err
}

// A list is what GET /v2/chat/users/me/contacts asks for.
type list struct {
	part
	external bool
}

func (a *API) readList(r *http.Request, p *auth.Principal) (l list, err error) {
	q, err := readParameters(r)
	if err != nil {
		return l, err
	}
	kind, err := q.word("type", "company", "external")
	if err != nil {
		return l, err
	}
	size, err := q.size(10, 50)
	if err != nil {
		return l, err
	}
	l.external = kind == "external"
	l.part, err = a.part(p, q, size, chatContacts, string(p.User), kind)
	return l, err
}
