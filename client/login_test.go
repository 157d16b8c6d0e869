package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/client"
)

// answers is a transport that gives one answer after another, and records when it was asked.
type answers struct {
	texts []string // "": a lost connection
	asked []time.Duration
	begun time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	text := a.texts[0]
	a.texts = a.texts[1:]
	a.asked = append(a.asked, time.Since(a.begun))
	if text == "" {
		return nil, errors.New("connection reset")
	}
	status := http.StatusOK
	if strings.Contains(text, `"error"`) {
		status = http.StatusBadRequest
	}
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func refusedWith(code string) string { return `{"reason":"x","error":"` + code + `"}` }

// TestAwait: the client asks as often as RFC 8628 §3.5 allows, until there is a decision.
func TestAwait(t *testing.T) {
	const code = `{"device_code":"d","user_code":"BCDF-GHJK","verification_uri":"https://x.example/device","expires_in":60,"interval":5}`
	const access = `{"access_token":"a","refresh_token":"r","expires_in":3600,"scope":"presence:read claim:write"}`
	pending, slower := refusedWith("authorization_pending"), refusedWith("slow_down")
	for name, c := range map[string]struct {
		texts []string
		asked []int // seconds
		err   error
	}{
		"allowed":   {[]string{pending, pending, access}, []int{0, 5, 10, 15}, nil},
		"slow down": {[]string{pending, slower, pending, slower, access}, []int{0, 5, 10, 20, 30, 45}, nil},
		"lost":      {[]string{pending, "", access}, []int{0, 5, 10, 20}, nil},
		"denied":    {[]string{refusedWith("access_denied")}, []int{0, 5}, client.ErrLoginDenied},
		"expired":   {[]string{refusedWith("expired_token")}, []int{0, 5}, client.ErrLoginExpired},
		"undecided": {[]string{slower, slower, slower, slower, slower}, []int{0, 5, 15, 30, 50}, client.ErrLoginExpired},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{texts: append([]string{code}, c.texts...), begun: time.Now()}
				app, err := client.NewLoginApp("https://x.example", "app", &http.Client{Transport: a})
				if err != nil {
					t.Fatal(err)
				}
				waiting, err := app.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				login, err := app.Await(t.Context(), waiting)
				if !errors.Is(err, c.err) || err == nil && (login.AccessToken != "a" || login.RefreshToken != "r" || len(login.Scopes) != 2) {
					t.Errorf("got %+v, %v; want %v", login, err, c.err)
				}
				if len(a.asked) != len(c.asked) {
					t.Fatalf("asked at %v, want %v", a.asked, c.asked)
				}
				for i, at := range c.asked {
					if a.asked[i] != time.Duration(at)*time.Second {
						t.Errorf("asked at %v, want %v", a.asked, c.asked)
					}
				}
			})
		})
	}
}
