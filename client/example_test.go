package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// A desktop client signs its user in, follows the contacts, and continues after every
// loss of the connection.
func ExampleClient_Stream() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.StaticToken("secret"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	stream := c.Stream(client.StreamOptions{
		Contacts: true,
		SignIn:   &api.SignIn{ClientType: "desktop"},
		OnState: func(s client.State) {
			if !s.Connected && s.RetryAfter > 0 {
				fmt.Println("again in", s.RetryAfter, "because", s.Err)
			}
		},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()

	for change := range stream.View().Changes(ctx) {
		fmt.Println(change.User, "is", change.Status)
		if change.Status == api.Available {
			break
		}
		stream.SetActive(true) // the user moved the mouse
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	// Output:
	// ada is away
	// ada is available
}

// A view can be read at any time, even without a connection.
func ExampleView() {
	c, err := client.New("https://presence.example.com", client.StaticToken("secret"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	stream := c.Stream(client.StreamOptions{Users: []string{"grace@example.com"}})
	// go stream.Run(ctx)
	_, known := stream.View().Get("grace@example.com")
	fmt.Println(known, stream.View().Complete())
	stream.Unfollow("grace@example.com")
	fmt.Println(stream.View().Complete())
	// Output:
	// false false
	// true
}

// Retry reports whether the same call may succeed later.
func ExampleRetry() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	c, err := client.New(server.URL, client.StaticToken("secret"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Presence(context.Background(), "me")
	fmt.Println(client.Retry(err))
	// Output: 2s true
}

// exampleServer has one user, who is away until active.
func exampleServer() *httptest.Server {
	answers := map[string]string{
		api.FrameSignIn:   `{"type":"done","id":"%s","session":"s"}`,
		api.FrameFollow:   `{"type":"snapshot","id":"%s","presences":[{"user":"ada","status":"away","revision":1}],"cursor":"c1"}`,
		api.FrameActivity: `{"type":"presence","user":"ada","status":"available","revision":2,"cursor":"c2"}`,
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/me" { // a stream asks once for its token's user
			_, _ = w.Write([]byte(`{"user":"me"}`))
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		answer := `{"type":"hello","epoch":"e","cursor":"c0","ping_seconds":25}`
		for ws.Write(r.Context(), websocket.MessageText, []byte(answer)) == nil {
			_, data, err := ws.Read(r.Context())
			var frame api.ClientFrame
			if err != nil || json.Unmarshal(data, &frame) != nil {
				return
			}
			answer = strings.Replace(answers[frame.Type], "%s", frame.ID, 1)
		}
	}))
}
