package server_test

import (
	"context"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/server"
)

// TestQuietStreamsStayOpen: a stream without events for longer than the timeout of slow
// consumers receives the next change. No write deadline outlives its write, on any
// transport.
func TestQuietStreamsStayOpen(t *testing.T) {
	plain, secure := settings(t), settings(t)
	dir := t.TempDir()
	secure.TLSCertFile, secure.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, secure.TLSCertFile, secure.TLSKeyFile, 1)
	over := start(t, plain, server.Options{})
	overTLS := start(t, secure, server.Options{})
	transport := &http.Transport{TLSClientConfig: trustAnyServer()}
	defer transport.CloseIdleConnections()
	overTLS.http.Transport = transport

	ctx, stop := context.WithTimeout(t.Context(), 10*waitLimit)
	defer stop()
	var open sync.WaitGroup
	watchers := make(map[string]*watcher)
	users := make(map[string]string)
	for name, r := range map[string]*running{"": over, " over TLS": overTLS} {
		ids := r.createUsers(t, 1)
		for kind, connect := range openStreams(ctx) {
			w := r.watcher(r.made.AccessToken, ids)
			watchers[kind+name], users[kind+name] = w, ids[0]
			open.Go(func() {
				if err := connect(w); err != nil && ctx.Err() == nil {
					t.Errorf("%s%s: %v", kind, name, err)
				}
			})
			eventually(t, "the stream is open: "+kind+name, func() bool { return w.lastCursor() != "" })
		}
	}
	quiet := time.NewTimer(hub.SlowAfter + time.Second)
	<-quiet.C
	for name, r := range map[string]*running{"events": over, "events over TLS": overTLS} {
		if _, err := r.client.SetNote(ctx, users[name], api.SetNote{Text: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, w := range watchers {
		eventually(t, "the change is sent: "+name, func() bool { return w.hasNote(users[name], "hello") })
	}
	stop()
	open.Wait()
}

// openStreams has a function for each kind of stream, which holds one open until ctx ends.
func openStreams(ctx context.Context) map[string]func(*watcher) error {
	events := func(modern bool) func(*watcher) error {
		return func(w *watcher) error {
			c, done := dialer(neverCut, modern)
			defer done()
			_, err := w.overEvents(ctx, c)
			return err
		}
	}
	return map[string]func(*watcher) error{
		"WebSocket": func(w *watcher) error {
			c, done := dialer(neverCut, false)
			defer done()
			_, err := w.overWebSocket(ctx, c)
			return err
		},
		"events":           events(false),
		"events of HTTP/2": events(true),
	}
}
