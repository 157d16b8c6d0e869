package server_test

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// TestEveryChangeAnnouncesItsLimit: every native or SCIM route that changes something
// announces its limit, whatever the status is. Reads, of which one is a POST, and Zoom's
// routes announce none.
func TestEveryChangeAnnouncesItsLimit(t *testing.T) {
	cfg := settings(t)
	cfg.Durability = "os"
	made, err := server.Init(t.Context(), cfg, testFounding)
	apptest.Check(t, err)
	h := &surface{running: run(t, cfg, server.Options{}, made), t: t}
	h.handler = h.Router()
	rows := apptest.Rights()
	none := &tenant{surface: h, objects: map[string]map[string]string{}}
	for _, of := range []string{"{user}", "{userId}", "{memberId}", "{identifier}", "{session}", "{token}", "{watch}", "{signin}", "{grant}", "{app}", "{group}", "{groupId}", "{subscription}", "{appId}", "{eventSubscriptionId}"} {
		none.put(of, own, neverMade)
	}
	for _, route := range h.Router().Routes() {
		method, path, _ := strings.Cut(route, " ")
		row, ok := rows[route]
		if !ok || row.Caller != apptest.WithToken || row.Stream || strings.HasSuffix(path, "/changes") {
			continue
		}
		w := h.ask(method, none.fill(path, absent), "", "Authorization", "Bearer "+made.AccessToken)
		native := dialectOf(path) == "/v1/" || dialectOf(path) == "/scim/"
		announced := w.Header().Get("RateLimit") != "" && w.Header().Get("RateLimit-Policy") != ""
		if want := native && !isSafe(method) && path != "/v1/presence/query"; announced != want {
			t.Errorf("%s: %d announces a limit: %t, want %t", route, w.Code, announced, want)
		}
	}
}
