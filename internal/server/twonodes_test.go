package server_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A messagingStore is a store whose nodes send each other messages.
type messagingStore struct {
	guestStore
	store.Messenger
}

// TestTwoServersShareLimitsAndRevocations: two servers on one store exchange which
// tokens were revoked, and what accounts used. The clock of the second one stands still, so
// that it does not read anything again by itself.
func TestTwoServersShareLimitsAndRevocations(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	made, st := initStore(t, cfg)
	t.Cleanup(func() { _ = st.Close() })
	var bus storetest.Bus
	node := func(clock func() time.Time) *running {
		own := cfg
		own.DataDir = filepath.Join(t.TempDir(), "data")
		return run(t, own, server.Options{Store: &messagingStore{guestStore{sharedStore{Store: st}}, bus.Node()}, Clock: clock}, made)
	}
	now := time.Now()
	here, there := node(time.Now), node(func() time.Time { return now })

	token, err := here.client.CreateToken(t.Context(), api.CreateToken{User: made.OwnerID, Name: "t", Scopes: []string{"presence:read"}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := client.New(there.URL(), client.StaticToken(token.Secret), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Presence(t.Context(), made.OwnerID); err != nil {
		t.Fatal(err)
	}
	if err := here.client.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	for err == nil { // or the test times out
		_, err = other.Presence(t.Context(), made.OwnerID)
	}

	remaining := func(at *running) int {
		resp, body := at.roundTrip(t, http.MethodGet, "/v2/users/"+made.OwnerID+"/presence_status", "", "Authorization", "Bearer "+made.AccessToken)
		n, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
		if err != nil {
			t.Fatal(resp.Status, body)
		}
		return n
	}
	// The bucket of the second node does not fill: alone, it has one less with each request.
	most := remaining(there)
	for range 5 {
		remaining(here)
	}
	for used := 1; remaining(there) >= most-used; used++ {
		time.Sleep(quota.ExchangeLag)
	}
}
