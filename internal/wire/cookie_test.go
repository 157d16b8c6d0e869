package wire_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/auth"
	. "porchlight.dev/porchlight/internal/wire"
)

// signIns is an Authenticator of one sign-in.
type signIns struct{ tokens }

func (s signIns) Authenticate(ctx context.Context, token string) (*auth.Principal, error) {
	p, err := s.tokens.Authenticate(ctx, token)
	if err == nil {
		p.SignIn = true
	}
	return p, err
}

// FuzzCookie: whatever a browser sends, the sign-in is that of the only cookie of its name,
// so that nobody adds another one, and the answer of a provider belongs to the flow whose
// cookie came with it.
func FuzzCookie(f *testing.F) {
	for _, header := range []string{
		"porchlight=good", "a=b; porchlight=good; c", `porchlight="good"`, "porchlight=good; porchlight=good", "Porchlight=good", "porchlight =good",
		"porchlight-flow-abcdefgh=value", "porchlight-flow-abcdefgh=a; porchlight-flow-abcdefgh=b", ";=;", "\x00", "porchlight=",
	} {
		f.Add(header, "abcdefgh-state")
	}
	f.Fuzz(func(t *testing.T, header, state string) {
		request := func(cookies ...string) *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.Header["Cookie"] = cookies
			return r
		}
		w := httptest.NewRecorder()
		if _, err := CookiePrincipal(w, request(header), signIns{tokens{"good"}}); err == nil {
			if !strings.Contains(header, "good") {
				t.Errorf("%q signs in", header)
			}
			for _, other := range [][]string{{"porchlight=other", header}, {header, "porchlight=good"}} {
				if _, err := CookiePrincipal(w, request(other...), signIns{tokens{"good"}}); err == nil {
					t.Errorf("%q signs in", other)
				}
			}
		}
		value := TakeFlow(w, request(header), state)
		if set := w.Result().Cookies(); value != "" && (!strings.Contains(header, value) || len(set) != 1 || set[0].MaxAge >= 0 || !strings.HasSuffix(set[0].Name, state[:8])) {
			t.Errorf("%q has %q of %q; the response sets %v", header, value, state, set)
		}
	})
}
