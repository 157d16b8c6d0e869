package server_test

import (
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// TestWatchesAreSentOnRequest: a fired watch is sent only to streams that request
// watches, and is deleted when such a stream confirms it.
func TestWatchesAreSentOnRequest(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: "grace@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	token := r.createToken(t, u.ID, "presence:read").Secret
	own, err := client.New(r.URL(), client.StaticToken(token), r.http)
	if err != nil {
		t.Fatal(err)
	}
	other := r.open(t, token, "?users=me")
	other.read(t, api.FrameSnapshot)
	w, err := own.CreateWatch(t.Context(), api.CreateWatch{User: "me", UntilStatus: api.Available})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.SignIn(t.Context(), u.ID, longSignIn("desktop")); err != nil {
		t.Fatal(err)
	}
	fired := func() bool {
		now, err := own.Watch(t.Context(), w.ID)
		return err == nil && !now.Fired.IsZero()
	}
	eventually(t, "it fires", fired)
	if _, err := other.Write(rawFrame(final|opPing, nil)); err != nil {
		t.Fatal(err)
	}
	for {
		first, payload, err := other.next()
		if err != nil {
			t.Fatal(err)
		}
		if first == final|opPong {
			break
		}
		if f := frameOf(t, payload); f.Type == api.FrameWatch {
			t.Errorf("a stream without watches=true got %s", payload)
		}
	}
	if !fired() {
		t.Error("the watch was deleted before it was sent to any stream")
	}

	asking := r.open(t, token, "?watches=true")
	if f := asking.read(t, api.FrameWatch); f.Watch == nil || f.Watch.ID != w.ID || f.Watch.Status != api.Available {
		t.Errorf("got %+v", f.Watch)
	}
	if _, err := asking.Write(rawFrame(final|opPong, nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch is deleted", func() bool {
		_, err := own.Watch(t.Context(), w.ID)
		return client.Is(err, &api.NoWatch)
	})
}
