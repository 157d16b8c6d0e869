package webhook_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/webhook"
)

// prove answers the challenge of plainForm.
func prove(w http.ResponseWriter, r *http.Request) {
	token := r.Header.Get("X-Challenge")
	w.Header().Set("X-Proof", standardSecret)
	_, _ = io.WriteString(w, token)
}

// TestValidate: the challenge is signed and authenticated like an event.
func TestValidate(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodOptions} {
		var tokens []string
		f := newSender(t, func(w http.ResponseWriter, r *http.Request) {
			body := readAll(r.Body)
			tokens = append(tokens, r.Header.Get("X-Challenge"))
			if r.Method != method || r.URL.String() != "/events?x=1" || r.Header.Get("X-Key") != "v" || (method == http.MethodPost) != (len(body) > 0) {
				t.Errorf("%s %s %q", r.Method, r.URL, body)
			}
			verify(t, standardSecret, r.Header, body)
			prove(w, r)
		})
		f.form.method = method
		s := f.subscription()
		s.Auth = webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "X-Key", HeaderValue: "v"}
		for range 2 {
			if err := f.Validate(t.Context(), s); err != nil {
				t.Error(method, err)
			}
		}
		if len(tokens) != 2 || len(tokens[0]) != 22 || tokens[0] == tokens[1] {
			t.Errorf("%s: tokens %q", method, tokens)
		}
	}
}

// TestInvalid: the error says what was tried and what came back.
func TestInvalid(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		change func(f *senderFixture, s *webhook.Subscription)
		within func(context.Context) context.Context // nil: the timeout of the profile
		want   string                                // URL stands for the URL
	}{
		{name: "a wrong proof", answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, want: `POST URL: the proof is wrong (status 200, body "hello")`},
		{name: "not found", answer: http.NotFound, want: `POST URL: want the status 200 (status 404, body "404 page not found\n")`},
		{name: "a redirect", answer: http.RedirectHandler("/there", http.StatusFound).ServeHTTP, want: `POST URL: want the status 200 (status 302)`},
		{name: "no answer", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: "POST URL: the endpoint closed the connection without an answer"},
		{name: "too slow", answer: hang, within: untilSent, want: "POST URL: no answer within"},
		{name: "too long", answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 100_000)) }, want: `POST URL: the answer is too long, or did not end in time (status 200, body "xxx`},
		{name: "not permitted", change: func(_ *senderFixture, s *webhook.Subscription) { s.URL = "https://192.168.1.1/" }, want: "POST https://192.168.1.1/: the address 192.168.1.1 is private, local or reserved; the operator of this server can allow its network with webhook-allow"},
		{name: "no secret", change: func(f *senderFixture, _ *webhook.Subscription) { f.secrets = nil }, want: "URL: the subscription has no valid secret"},
		{name: "a key in the query", answer: http.NotFound, change: func(_ *senderFixture, s *webhook.Subscription) { s.URL += "?key=secret#secret" }, want: "POST URL: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newSender(t, func(w http.ResponseWriter, r *http.Request) { c.answer(w, r) })
			s := f.subscription()
			if c.change != nil {
				c.change(f, s)
			}
			ctx := t.Context()
			if c.within != nil {
				ctx = c.within(ctx)
			}
			err := f.Validate(ctx, s)
			var failed *webhook.ValidationError
			short, _, _ := strings.Cut(s.URL, "?")
			if want := strings.ReplaceAll(c.want, "URL", short); !errors.As(err, &failed) || strings.Contains(err.Error(), "key=") || !strings.HasPrefix(err.Error(), want) || len(err.Error()) > 1000 {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

// TestNotValidated: what is not the endpoint's fault is another error.
func TestNotValidated(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := newSender(t, func(_ http.ResponseWriter, r *http.Request) {
		readAll(r.Body) // the server notices the end of the connection only then
		cancel()
		<-r.Context().Done()
	})
	var failed *webhook.ValidationError
	if err := f.Validate(ctx, f.subscription()); err == nil || errors.As(err, &failed) {
		t.Errorf("canceled: %v", err)
	}
	f.err = errors.New("the store is unavailable")
	if err := f.Validate(t.Context(), f.subscription()); !errors.Is(err, f.err) || errors.As(err, &failed) {
		t.Errorf("no store: %v", err)
	}
}
