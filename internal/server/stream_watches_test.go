package server_test

import (
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// TestWatchesAreToldToWhoAsks: a stream that does not ask for watches takes none away
// from one that does. What was told, and answered, is over.
func TestWatchesAreToldToWhoAsks(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	token := r.token(t, u.ID, "presence:read").Secret
	own, err := client.New(r.URL(), client.StaticToken(token), r.http)
	if err != nil {
		t.Fatal(err)
	}
	deaf := r.open(t, token, "?users=me")
	deaf.read(t, api.FrameSnapshot)
	w, err := own.CreateWatch(t.Context(), api.CreateWatch{User: "me", UntilStatus: api.Available})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.SignIn(t.Context(), u.ID, api.SignIn{ClientType: "desktop"}); err != nil {
		t.Fatal(err)
	}
	fired := func() bool {
		now, err := own.Watch(t.Context(), w.ID)
		return err == nil && !now.Fired.IsZero()
	}
	eventually(t, settles, "it fires", fired)
	if _, err := deaf.Write(rawFrame(final|opPing, nil)); err != nil {
		t.Fatal(err)
	}
	for {
		first, payload, err := deaf.next()
		if err != nil {
			t.Fatal(err)
		}
		if first == final|opPong {
			break
		}
		if f := frameOf(t, payload); f.Type == api.FrameWatch {
			t.Errorf("who did not ask is told: %s", payload)
		}
	}
	if !fired() {
		t.Error("it is over, and nobody was told")
	}

	hears := r.open(t, token, "?watches=true")
	if f := hears.read(t, api.FrameWatch); f.Watch == nil || f.Watch.ID != w.ID || f.Watch.Status != api.Available {
		t.Errorf("told of %+v", f.Watch)
	}
	if _, err := hears.Write(rawFrame(final|opPong, nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, settles, "it is over", func() bool {
		_, err := own.Watch(t.Context(), w.ID)
		return client.Is(err, &api.NoWatch)
	})
}
