package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/streamapi"
	"porchlight.dev/porchlight/internal/wire"
)

type hooked struct {
	store.Store
	after func()
}

func (h *hooked) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	r, c, err := h.Store.Read(ctx, us, fresh)
	if f := h.after; f != nil {
		h.after = nil
		f()
	}
	return r, c, err
}

// TestPollCursorAcrossMemberChange: a poll keeps its cursor when a member joins while it
// reads, so that the next poll returns who left.
func TestPollCursorAcrossMemberChange(t *testing.T) {
	w := newWorld(t)
	st := &hooked{Store: w.store}
	w.hub = server.NewHub(st, w.directory, w.authority, nil, w.clock, slog.New(slog.DiscardHandler), nil)
	w.runHub()
	w.router = wire.NewRouter(newObserver(w.clock), w.api)
	w.api.Mount(w.router)
	(&streamapi.API{Native: w.api, Hub: w.hub}).Mount(w.router)
	w.handler = w.router
	token, admin := w.token(w.alice.ID, "presence:read"), w.admin()
	groups := func(g string) {
		w.do("PATCH", "/v1/users/"+string(w.bob.ID), admin, fmt.Sprintf(`{"groups":[%s]}`, g)).want(200)
	}
	groups(`"support"`)
	w.do("PATCH", "/v1/users/"+string(w.owner), admin, `{"groups":["support"]}`).want(200)
	poll := func(cursor string, wait int) (c api.Changes) {
		x := w.do("GET", fmt.Sprintf("/v1/presence/changes?group=support&wait=%d&cursor=%s", wait, cursor), token, "").want(200)
		if err := json.Unmarshal([]byte(x.body), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := poll("", 0)
	first = poll(first.Cursor, 0)
	w.do("PUT", "/v1/users/"+string(w.owner)+"/note", admin, `{"text":"hi"}`).want(200)
	w.do("POST", "/v1/users/"+string(w.owner)+"/sessions", admin, `{"client_type":"desktop"}`).want(201)
	beside := poll("", 0)
	st.after = func() {
		groups("")
		for tries := 0; len(beside.Gone) == 0; tries++ { // until the hub has noticed
			if tries == 100 {
				t.Fatal("no poll says that bob has left")
			}
			beside = poll(beside.Cursor, 5)
		}
	}
	second := poll(first.Cursor, 5)
	if second.Cursor == "" {
		t.Errorf("the poll has no cursor: %+v", second)
	}
	third := poll(second.Cursor, 0)
	if len(second.Gone)+len(third.Gone) == 0 && !third.Reset {
		t.Error("nothing says that bob has left")
	}
}
