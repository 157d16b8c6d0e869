package streamapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/view"
)

// allUsers is a directory with every user and without contacts, and grants everybody
// access.
type allUsers struct{ hub.Directory }

func (allUsers) Exists(context.Context, store.User) (bool, error) { return true, nil }

func (allUsers) Revoked(_ context.Context, all []view.Viewer) []hub.Close {
	return make([]hub.Close, len(all))
}

// A hookedStore calls a function before each read.
type hookedStore struct {
	store.Store

	before func()
}

func (s *hookedStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	s.before()
	return s.Store.Read(ctx, us, fresh)
}

// TestPollEndsBeforeAnswer: such a poll gets a retryable error and no empty answer.
func TestPollEndsBeforeAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		ends bool
		want error
	}{"it ends": {true, hub.ErrEnded}, "it does not": {false, nil}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
				if err != nil {
					t.Fatal(err)
				}
				hook := &hookedStore{Store: st, before: func() {}}
				log := slog.New(slog.DiscardHandler)
				h := hub.New(hub.Options{Store: hook, Directory: allUsers{}, Access: allUsers{}, Clock: time.Now, Log: log})
				ctx, stop := context.WithCancel(t.Context())
				ran := make(chan error, 1)
				go func() { ran <- h.Run(ctx) }()
				defer func() {
					stop()
					if err := errors.Join(<-ran, st.Close()); err != nil {
						t.Error(err)
					}
				}()
				if c.ends {
					hook.before = func() { h.CloseAll(hub.CloseUnavailable, time.Second) }
				}
				a := &API{Native: &httpapi.API{Log: log}, Hub: h}
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/presence/changes", http.NoBody)
				w := httptest.NewRecorder()
				request := &call{w, r, &auth.Principal{Account: "a", User: "alice"}}
				follow := &hub.Follow{Users: []hub.NamedUser{{ID: presence.UserID("bob")}}}
				err = a.await(request, &slot{release: func() {}}, follow, time.Minute)
				if !errors.Is(err, c.want) || (err != nil) != (w.Body.Len() == 0) {
					t.Errorf("%v, body %q", err, w.Body)
				}
			})
		})
	}
}
