package httpapi_test

import (
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/store"
)

// notes counts the entries of a user in which a note was shown.
func (w *world) notes(u store.User) (n int) {
	w.t.Helper()
	entries, err := w.store.History(w.t.Context(), u, 0, 100)
	w.must(err)
	for i := range entries {
		if entries[i].Before.Note+entries[i].After.Note != "" {
			n++
		}
	}
	return n
}

// TestEraseUser: a user is deleted and erased at once, or deleted first and erased later.
func TestEraseUser(t *testing.T) {
	for name, deletedBefore := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			admin := w.admin()
			w.aDay(admin)
			path := "/v1/users/" + string(w.alice.ID)
			u := store.User{Account: w.account, ID: w.alice.ID}
			w.do("GET", path+"/erasure", admin, "").problem(&api.NoErasure)
			w.do("DELETE", path+"?erase=perhaps", admin, "").problem(&api.InvalidField)
			if deletedBefore {
				w.do("DELETE", path, admin, "").want(204)
				w.do("DELETE", path, admin, "").problem(&api.NoUser)
			}
			var e api.Erasure
			x := w.do("DELETE", path+"?erase=true", admin, "").want(202).read(&e)
			if e.User != string(w.alice.ID) || e.State != api.ErasurePending || !e.Done.IsZero() || x.header.Get("Location") != path+"/erasure" {
				t.Errorf("%+v", e)
			}
			w.do("GET", path, admin, "").problem(&api.NoUser)
			w.do("DELETE", path+"?erase=true", admin, "").want(202)
			if w.notes(u) == 0 {
				t.Fatal("INVALID: no entry has a note before the erasure")
			}
			w.must(w.api.Erasures.Complete(t.Context()))
			w.do("GET", path+"/erasure", admin, "").want(200).read(&e)
			if e.State != api.ErasureDone || e.Done.IsZero() || e.Delay != "" || w.notes(u) != 0 {
				t.Errorf("%+v; %d entries have a note", e, w.notes(u))
			}
			w.do("GET", path+"/history", admin, "").problem(&api.NoUser)
		})
	}
}

// TestEraseNobody: users who never existed, live ones of other accounts and the owner
// cannot be erased.
func TestEraseNobody(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, user := range []string{"KDcuGIm1QgePTO8WbOqwIQ", "nobody@example.com", string(w.stranger.ID), "stranger@example.net"} {
		w.do("DELETE", "/v1/users/"+user+"?erase=true", admin, "").problem(&api.NoUser)
		w.do("GET", "/v1/users/"+user+"/erasure", admin, "").problem(&api.NoErasure)
	}
	w.do("DELETE", "/v1/users/"+string(w.owner)+"?erase=true", admin, "").problem(&api.OwnerKept)
	w.do("DELETE", "/v1/users/"+string(w.alice.ID)+"?erase=true", w.token(w.alice.ID, "directory:write"), "").problem(&api.InsufficientScope)
	w.do("DELETE", "/v1/users/"+string(w.alice.ID)+"?erase=true", admin, "", "If-Match", `"x"`).problem(&api.PreconditionFailed)
	w.do("GET", "/v1/users/alice@example.com", admin, "").want(200)
}
