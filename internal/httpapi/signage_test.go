package httpapi_test

import (
	"net/http"
	"path"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
)

// TestSignage: whoever has a link sees names and statuses, until it is revoked.
func TestSignage(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.do("PUT", "/v1/users/alice@example.com/claims/x", admin, `{"source":"app","status":"out_of_office","note":"secret note"}`).want(200)
	w.do("PATCH", "/v1/users/alice@example.com", admin, `{"groups":["Support"],"display_name":"Alice"}`).want(200)

	var link api.SignageLink
	w.do("POST", "/v1/signage-links", admin, `{"name":"Entrance","group":"support"}`).want(201).read(&link)
	route := "/v1/signage/" + path.Base(link.URL)
	shown := w.do("GET", route, "", "").want(200)
	var got api.Signage
	shown.read(&got)
	if got.Title != "support" || len(got.People) != 1 || got.People[0] != (api.SignagePerson{Name: "Alice", Status: "out_of_office"}) {
		t.Errorf("%+v", got)
	}
	if text := shown.body; strings.Contains(text, "secret") || strings.Contains(text, "@") {
		t.Errorf("the display gets %s", text)
	}
	w.do("GET", route, "", "", "If-None-Match", shown.header.Get("Etag")).want(304)

	var list api.SignageLinks
	w.do("GET", "/v1/signage-links", admin, "").want(200).read(&list)
	if len(list.SignageLinks) != 1 || list.SignageLinks[0].ID != link.ID || list.SignageLinks[0].URL != "" {
		t.Errorf("%+v", list)
	}
	w.do("DELETE", "/v1/signage-links/"+link.ID, admin, "").want(204)
	w.do("GET", route, "", "").want(404)
}

// TestSignageIsLimited: an address that asks too often is refused, whatever it asks for.
func TestSignageIsLimited(t *testing.T) {
	w := newWorld(t)
	for range 120 {
		w.do("GET", "/v1/signage/a.b", "", "").want(404)
	}
	refused := w.do("GET", "/v1/signage/a.b", "", "").want(http.StatusTooManyRequests)
	var problem api.Problem
	refused.read(&problem)
	if problem.LimitName != "signage-per-address" || refused.header.Get("Retry-After") == "" {
		t.Errorf("%+v", problem)
	}
}
