package zoomapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

// A lossyPublisher loses the records of what was begun.
type lossyPublisher struct{ Publisher }

func (p lossyPublisher) NewBegun(done func(publish.Result, error)) *publish.Begun {
	return p.Publisher.NewBegun(func(publish.Result, error) { done(publish.Result{Record: store.Record{}}, nil) })
}

// TestFastPanicWhileAnswering: a panic in the goroutine that answers an update, which is one
// of the store, is answered as one of a handler, and the connection goes on.
func TestFastPanicWhileAnswering(t *testing.T) {
	w := newFixture(t, options{})
	w.api.Publisher = lossyPublisher{w.api.Publisher}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.serveFast())
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(2 * time.Minute)))
	const body = `{"status":"Away"}`
	in := bufio.NewReader(conn)
	for range 2 {
		_, err = io.WriteString(conn, "PUT "+path(string(w.ann.ID))+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.app+
			"\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n"+body)
		w.must(err)
		resp, err := http.ReadResponse(in, nil)
		w.must(err)
		text, err := io.ReadAll(resp.Body)
		w.must(err)
		_ = resp.Body.Close() // it was read
		if resp.StatusCode != 500 || !strings.Contains(string(text), `"message":"Internal server error."`) {
			t.Errorf("answered %d %s", resp.StatusCode, text)
		}
	}
}
