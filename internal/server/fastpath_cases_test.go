package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A hotCase is a request on a hot route, or one that resembles it.
type hotCase struct {
	name, request string
	fast          bool // it must be answered on the fast path
}

// message is a request. Fields are lines; a Content-Length is added for a body.
func message(method, user, token, body string, fields ...string) string {
	return raw(method+" /v2/users/"+user+"/presence_status HTTP/1.1", body, append([]string{"Host: x", "Authorization: Bearer " + token}, fields...)...)
}

func raw(line, body string, fields ...string) string {
	if body != "" {
		fields = append(fields, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(append([]string{line}, fields...), "\r\n") + "\r\n\r\n" + body
}

const (
	asJSON  = "Content-Type: application/json"
	away    = `{"status":"Away"}`
	hotPath = "/v2/users/{ann}/presence_status"
)

func put(user, token, body string) string { return message("PUT", user, token, body, asJSON) }
func get(user, token string) string       { return message("GET", user, token, "") }

// clientHeads are the header fields that clients send beside those of every message.
var clientHeads = map[string][]string{
	"curl":     {"User-Agent: curl/8.5.0", "Accept: */*"},
	"Go":       {"User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"},
	"requests": {"User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive"},
	"axios":    {"Accept: application/json, text/plain, */*", "User-Agent: axios/1.7.9", "Accept-Encoding: gzip, compress, deflate, br", "Connection: keep-alive"},
	"undici":   {"Connection: keep-alive", "Accept: */*", "Accept-Language: *", "Sec-Fetch-Mode: cors", "User-Agent: node", "Accept-Encoding: gzip, deflate"},
	"Postman":  {"User-Agent: PostmanRuntime/7.43.0", "Accept: */*", "Cache-Control: no-cache", "Postman-Token: 7d0f3a3e", "Accept-Encoding: gzip, deflate, br", "Connection: keep-alive"},
	"C#":       {"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "Request-Id: |x"},
	"proxy": {
		"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: presence.example", "X-Real-IP: 203.0.113.9",
		"X-Request-Id: edge-1", "Via: 1.1 edge", "Forwarded: for=203.0.113.9", "tracestate: a=b",
	},
}

func clientCases() (all []hotCase) {
	for name, head := range clientHeads {
		all = append(all,
			hotCase{name + " PUT", message("PUT", "{ann}", "{app}", away, append([]string{asJSON}, head...)...), true},
			hotCase{name + " GET", message("GET", "{ann}", "{app}", "", head...), true})
	}
	return all
}

// callerCases are all tokens with all users.
func callerCases() (all []hotCase) {
	for _, token := range []string{"{app}", "{annToken}", "{annReads}", "{annNothing}", "{plainApp}", "{eveApp}", "{expired}", "unknown", "pl_" + strings.Repeat("x", 43)} {
		for _, user := range []string{"{ann}", "{ben}", "{cyd}", "{dan}", "{old}", "{fay}", "{gus}", "{hid}", "{owner}", "{eve}", "me", "nobody"} {
			all = append(all,
				hotCase{name: token + " PUT " + user, request: put(user, token, `{"status":"Do_Not_Disturb","duration":600}`)},
				hotCase{name: token + " GET " + user, request: get(user, token)})
		}
	}
	return all
}

// bodyCases are bodies, whole and damaged.
func bodyCases() (all []hotCase) {
	for _, status := range []string{
		"Available", "Away", "Busy", "Do_No_Disturb", "Do-Not_Disturb", "Do_Not-Disturb", "In_Calendar_Event", "In_A_Calendar_Event",
		"In_A_Zoom_Meeting", "In_A_Meeting", "In_Meeting", "On_A_Call", "In_A_Call", "On_Phone_Call", "Presenting", "Out_of_Office",
	} {
		all = append(all, hotCase{status, put("{ann}", "{app}", `{"status":"`+status+`"}`), true})
	}
	for _, body := range []string{
		`{"status":"Do_Not_Disturb","duration":20}`, `{"status":"Do_Not_Disturb","duration":"60"}`, `{"status":"Do_Not_Disturb","duration":6e1}`,
		"\ufeff" + away, ` { "status" : "Away" } `, `{"status":"Away","extra":{"a":[1,2]}}`, `{"status":"\u0041way"}`, `{"status":"Away","duration":null}`,
	} {
		all = append(all, hotCase{body, put("{ann}", "{app}", body), true})
	}
	for _, body := range []string{
		`{"status":"Sleeping"}`, `{"status":"away"}`, `{"status":""}`, `{}`, `{"status":null}`, `{"status":5}`, `[]`, `x`, `{"status":"Away"`, away + away, `{"status":"Away","status":"Busy"}`,
		`{"status":"Do_Not_Disturb","duration":0}`, `{"status":"Do_Not_Disturb","duration":1441}`, `{"status":"Do_Not_Disturb","duration":"x"}`, "{\"status\":\"\xff\"}",
		strings.Repeat("[", 40), strings.Repeat(" ", 4078) + away, strings.Repeat(" ", 4080) + away, strings.Repeat(" ", 5000) + away, strings.Repeat(" ", 70_000) + away,
	} {
		all = append(all, hotCase{name: fmt.Sprintf("%.40q", body), request: put("{ann}", "{app}", body)})
	}
	const boundary = "multipart/form-data; boundary=b"
	for kind, body := range map[string]string{
		"application/x-www-form-urlencoded": "status=Away",
		boundary:                            "--b\r\nContent-Disposition: form-data; name=\"status\"\r\n\r\nAway\r\n--b--\r\n",
		"text/plain":                        away,
		"application/json; charset=utf-16":  away,
		"application/json; x=y":             away,
		"application/json,text/plain":       away,
		"Application/JSON":                  away,
		"":                                  away,
	} {
		all = append(all, hotCase{name: kind, request: message("PUT", "{ann}", "{app}", body, "Content-Type: "+kind)})
	}
	for _, kind := range []string{"application/json; charset=utf-8", "application/json; charset=UTF-8", "application/json;charset=utf-8"} {
		all = append(all, hotCase{kind, message("PUT", "{ann}", "{app}", away, "Content-Type: "+kind), true})
	}
	return append(all,
		hotCase{name: "no type", request: message("PUT", "{ann}", "{app}", away)},
		hotCase{name: "two types", request: message("PUT", "{ann}", "{app}", away, asJSON, asJSON)},
		hotCase{name: "no body", request: put("{ann}", "{app}", "")},
		hotCase{name: "length 0", request: message("PUT", "{ann}", "{app}", "", asJSON, "Content-Length: 0")},
		hotCase{name: "chunked", request: message("PUT", "{ann}", "{app}", "", asJSON, "Transfer-Encoding: chunked") + "11\r\n" + away + "\r\n0\r\n\r\n"},
		hotCase{name: "expect", request: message("PUT", "{ann}", "{app}", away, asJSON, "Expect: 100-continue")},
		hotCase{name: "compressed", request: message("PUT", "{ann}", "{app}", away, asJSON, "Content-Encoding: gzip")},
		hotCase{name: "identity", request: message("PUT", "{ann}", "{app}", away, asJSON, "Content-Encoding: identity")},
		hotCase{name: "GET with a body", request: message("GET", "{ann}", "{app}", away, asJSON)},
		hotCase{name: "GET with length 0", request: message("GET", "{ann}", "{app}", "", "Content-Length: 0"), fast: true},
	)
}

// headCases are request lines and header fields out of the ordinary.
func headCases() (all []hotCase) {
	for _, fields := range [][]string{
		{"Origin: https://app.example"},
		{"Cookie: a=b"},
		{"If-Match: *"},
		{`If-Match: "1"`},
		{`If-None-Match: "1"`},
		{"If-None-Match: *"},
		{"Range: bytes=0-1"},
		{"Idempotency-Key: k1"},
		{"Idempotency-Key: k1"},
		{"Idempotency-Key: "},
		{"Upgrade: h2c", "Connection: upgrade"},
		{"Connection: keep-alive, X-A"},
		{"Connection: close, keep-alive"},
		{"Connection: "},
		{"Connection: keep-alive", "Connection: keep-alive"},
		{"TE: trailers"},
		{"X-Unknown: 1"},
		{"X_Forwarded_For: 1"},
		{"Authorization: Bearer {app}"},
		{"Host: y"},
		{"If-Modified-Since: Sun, 22 Nov 2026 12:00:00 GMT"},
		{"X-HTTP-Method-Override: GET"},
	} {
		name := strings.Join(fields, " and ")
		all = append(all,
			hotCase{name: name + " PUT", request: message("PUT", "{ann}", "{app}", away, append([]string{asJSON}, fields...)...)},
			hotCase{name: name + " GET", request: message("GET", "{ann}", "{app}", "", fields...)})
	}
	bearer := func(value string) string {
		return raw("GET "+hotPath+" HTTP/1.1", "", "Host: x", "Authorization: "+value)
	}
	for _, value := range []string{"bearer {app}", "BEARER   {app}  "} {
		all = append(all, hotCase{value, bearer(value), true})
	}
	for _, value := range []string{"", "Bearer", "Bearer ", "{app}", "Basic {app}", "Bearer\t{app}", "Bearer {app} x", "Bearer {app},{app}", "Bearer \xff"} {
		all = append(all, hotCase{name: fmt.Sprintf("%q", value), request: bearer(value)})
	}
	for _, line := range []string{
		"HEAD " + hotPath + " HTTP/1.1", "GET " + hotPath + " HTTP/1.0", "GET " + hotPath + "?a=b HTTP/1.1", "GET " + hotPath + "? HTTP/1.1",
		"GET " + hotPath + "?access_token={app} HTTP/1.1", "GET " + hotPath + "/ HTTP/1.1", "GET http://x" + hotPath + " HTTP/1.1", "GET /v2/users/ann@example.com/presence_status HTTP/1.1",
		"GET /v2/users/ann%40example.com/presence_status HTTP/1.1", "GET /v2/users/%7Bann%7D/presence_status HTTP/1.1", "GET /v2/users//presence_status HTTP/1.1",
		"GET /v2/users/a.b/presence_status HTTP/1.1", "GET /v2//users/{ann}/presence_status HTTP/1.1", "GET /v2/users/../users/{ann}/presence_status HTTP/1.1",
		"GET /V2/users/{ann}/presence_status HTTP/1.1", "DELETE " + hotPath + " HTTP/1.1", "POST " + hotPath + " HTTP/1.1", "get " + hotPath + " HTTP/1.1", "OPTIONS " + hotPath + " HTTP/1.1",
		"GET /v2/users/" + strings.Repeat("a", 600) + "/presence_status HTTP/1.1",
	} {
		all = append(all, hotCase{name: fmt.Sprintf("%.60s", line), request: raw(line, "", "Host: x", "Authorization: Bearer {app}")})
	}
	for _, host := range []string{"Host: x.example:8080", "Host: [::1]:8080", "hOsT:x"} {
		all = append(all, hotCase{host, raw("GET "+hotPath+" HTTP/1.1", "", host, "Authorization: Bearer {app}"), true})
	}
	for _, host := range []string{"Host: ", "Host: a b", "Host: a/b", "Host: \xff", "X-Host: a"} {
		all = append(all, hotCase{name: host, request: raw("GET "+hotPath+" HTTP/1.1", "", host, "Authorization: Bearer {app}")})
	}
	return append(all,
		hotCase{"close", message("GET", "{ann}", "{app}", "", "Connection: close"), true},
		hotCase{"Close PUT", message("PUT", "{ann}", "{app}", away, asJSON, "Connection: Close"), true},
		hotCase{name: "no token", request: raw("GET "+hotPath+" HTTP/1.1", "", "Host: x")},
		hotCase{name: "no host", request: raw("GET "+hotPath+" HTTP/1.1", "", "Authorization: Bearer {app}")},
		hotCase{name: "two in a row", request: put("{ann}", "{app}", away) + get("{ann}", "{app}")},
	)
}

// TestFastPath is the gate of the fast path: its answers are those of net/http.
func TestFastPath(t *testing.T) {
	w := startTwins(t, nil, nil)
	paces := map[string]pace{"whole": whole, "pipelined": pipelined, "in pieces": inPieces, "byte by byte": byteByByte}
	all := 0
	for group, cases := range map[string][]hotCase{"clients": clientCases(), "callers": callerCases(), "bodies": bodyCases(), "heads": headCases()} {
		for _, c := range cases {
			for name, how := range paces {
				if group == "callers" && how != whole || how == byteByByte && group != "clients" {
					continue
				}
				t.Run(group+"/"+c.name+"/"+name, func(t *testing.T) {
					w.clock.Advance(time.Second)
					if c.fast {
						defer w.expectFast(t, c.request)()
					}
					w.compare(t, c.request, how)
				})
				all++
			}
		}
	}
	t.Logf("%d requests", all)
	w.compareAll(t)
}

// expectFast notes how many requests the fast path has answered. The function that it
// returns expects one more, and the one after it.
func (w *twins) expectFast(t *testing.T, request string) func() {
	t.Helper()
	want := w.fast.fastAnswers(t) + 2
	if strings.Contains(strings.ToLower(request), "connection: close") {
		want--
	}
	return func() {
		t.Helper()
		if got := w.fast.fastAnswers(t); got != want {
			t.Errorf("the fast path has answered %d requests, want %d", got, want)
		}
	}
}

// TestFastPathLimits: the limits count alike, and both refusals of limits are alike.
func TestFastPathLimits(t *testing.T) {
	w := startTwins(t, func(cfg *config.Config) { cfg.MinUpdateInterval, cfg.RateLimitPlan = time.Minute, "free" }, nil)
	for i := range 40 {
		for _, request := range []string{
			put("{ann}", "{app}", away), get("{ann}", "{app}"), get("{ann}", "unknown"), put("{ben}", "{annToken}", away), put("{ann}", "{app}", "x"), put("{dan}", "{app}", away), put("{cyd}", "{app}", away),
		} {
			w.compare(t, request, whole)
			w.clock.Advance(time.Duration(i) * 50 * time.Millisecond)
		}
	}
	if n := strings.Count(w.fast.log.String(), `msg="repeated authentication failures"`); n == 0 {
		t.Error("repeated failures are not logged")
	}
	w.compareAll(t)
}

// TestFastPathOverTLS: the fast path answers on TLS as well, with the headers for it.
func TestFastPathOverTLS(t *testing.T) {
	w := startTwins(t, func(cfg *config.Config) {
		dir := t.TempDir()
		cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
		cfg.HSTSMaxAge, cfg.CORSOrigins = time.Hour, "https://app.example"
	}, nil)
	for _, request := range []string{put("{ann}", "{app}", away), get("{ann}", "{app}"), get("{ann}", "pl_"+strings.Repeat("x", 43)), message("GET", "{ann}", "{app}", "", "Origin: https://app.example")} {
		for _, how := range []pace{whole, pipelined, inPieces} {
			if answer := w.compare(t, request, how); !strings.Contains(answer, "Strict-Transport-Security: max-age=3600\r\nVary: Origin\r\n") {
				t.Errorf("%q: %s", request, answer)
			}
		}
	}
	if n := w.fast.fastAnswers(t); n != 4*2*3-3 {
		t.Errorf("the fast path has answered %d requests", n)
	}
	w.compareAll(t)
}

// TestFastPathProxies: trusted proxies, and nobody else, speak for their clients.
func TestFastPathProxies(t *testing.T) {
	for _, trusted := range []string{"127.0.0.0/8", "127.0.0.0/8,203.0.113.0/24", "10.0.0.0/8", ""} {
		t.Run(trusted, func(t *testing.T) {
			w := startTwins(t, func(cfg *config.Config) {
				cfg.TrustedProxies, cfg.HSTSMaxAge, cfg.CORSOrigins = trusted, time.Hour, "*"
			}, nil)
			for _, fields := range [][]string{
				nil,
				{"X-Forwarded-For: 198.51.100.7"},
				{"X-Forwarded-For: 198.51.100.7, 203.0.113.9"},
				{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 203.0.113.9"},
				{"X-Forwarded-For: [2001:db8::1]:443, 203.0.113.9:80"},
				{"X-Forwarded-For: unknown", "X-Forwarded-Proto: https"},
				{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: presence.example"},
				{"X-Forwarded-Proto: http, https", "X-Forwarded-Host: a, b"},
				{"X-Forwarded-Proto: wss", "X-Forwarded-Host: presence.example"},
				{"X-Forwarded-Proto: gopher", "X-Forwarded-Host: a b"},
				{"x-forwarded-for:198.51.100.7", "X-FORWARDED-PROTO:https"},
				{"X-Request-Id: edge-1:a.b_c"},
				{"X-Request-Id: "},
				{"X-Request-Id: a", "X-Request-Id: b"},
				{"X-Request-Id: " + strings.Repeat("a", 64)},
				{"X-Request-Id: " + strings.Repeat("a", 65)},
				{"X-Request-Id: a/b"},
			} {
				w.clock.Advance(time.Second)
				check := w.expectFast(t, "")
				w.compare(t, message("GET", "{ann}", "{app}", "", fields...), whole)
				check()
				w.compare(t, message("PUT", "{ann}", "{app}", away, append([]string{asJSON}, fields...)...), pipelined)
			}
			w.compareAll(t)
		})
	}
}

// TestFastPathStoreErrors: every error of the store is answered alike, and an update whose
// result is unknown is not made twice.
func TestFastPathStoreErrors(t *testing.T) {
	var faulty []*storetest.Faulty
	w := startTwins(t, nil, func(st store.Store) store.Store {
		f := storetest.Fault(st)
		faulty = append(faulty, f)
		return f
	})
	for _, err := range []error{store.ErrFull, store.ErrFailed, store.ErrUnavailable, store.ErrClosed, store.ErrUnknown, store.ErrTooLarge, errors.New("boom")} {
		for _, f := range faulty {
			f.Fail(storetest.Update, 1, err)
		}
		w.compare(t, put("{ann}", "{app}", away), whole)
		for _, f := range faulty {
			f.Fail(storetest.Read, 1, err)
		}
		w.compare(t, get("{ann}", "{app}"), whole)
	}
	for _, f := range faulty {
		f.LoseAnswer(storetest.Update, 1)
	}
	if answer := w.compare(t, put("{ann}", "{app}", away), whole); !strings.Contains(answer, "X-Outcome: unknown") {
		t.Errorf("an update whose answer was lost: %s", answer)
	}
	for i, f := range faulty {
		if f.Fired() != 15 {
			t.Errorf("store %d had %d faults", i, f.Fired())
		}
	}
	w.compareAll(t)
}

// A panicking store panics when it is asked, or when it answers.
type panicking struct {
	store.Store
	read, begin, reply atomic.Bool
}

func (p *panicking) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if p.read.Load() {
		panic("read")
	}
	return p.Store.Read(ctx, us, fresh)
}

func (p *panicking) Begin(u store.User, fn store.Decide, reply store.Reply) {
	if p.begin.Load() {
		panic("begin")
	}
	p.Store.Begin(u, fn, func(r store.Record, err error) {
		if p.reply.Load() {
			r.State = nil // whoever reads it panics
		}
		reply(r, err)
	})
}

// TestFastPathPanics: a panic is answered, or ends its connection. The others go on.
func TestFastPathPanics(t *testing.T) {
	broken := new(panicking)
	w := startTwins(t, nil, func(st store.Store) store.Store {
		if broken.Store == nil { // the first is that of the fast path
			broken.Store = st
			return broken
		}
		return st
	})
	for _, c := range []struct {
		name, request string
		breaks        *atomic.Bool
		status        string // "" for no answer
		logged        string
	}{
		{"Read", get("{ann}", "{app}"), &broken.read, "500 Internal Server Error", "msg=panic value=read"},
		{"Begin", put("{ann}", "{app}", away), &broken.begin, "", "msg=panic value=begin"},
		{"reply", put("{ann}", "{app}", away), &broken.reply, "500 Internal Server Error", `msg=panic value="runtime error`},
	} {
		c.breaks.Store(true)
		answer := w.fast.exchange(t, w.fill(c.request), "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", pipelined)
		c.breaks.Store(false)
		if c.status == "" && answer != "" || c.status != "" && (!strings.HasPrefix(answer, "HTTP/1.1 "+c.status) || strings.Count(answer, "HTTP/1.1") != 2) {
			t.Errorf("%s: answered %q", c.name, answer)
		}
		if n := strings.Count(w.fast.log.String(), c.logged); n != 1 {
			t.Errorf("%s: logged %d times:\n%s", c.name, n, w.fast.log)
		}
		if answer := w.fast.exchange(t, w.fill(last), "", whole); !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: the next connection: %q", c.name, answer)
		}
	}
}

// FuzzFastPath: whatever is sent, both servers answer alike.
func FuzzFastPath(f *testing.F) {
	for _, cases := range [][]hotCase{clientCases(), bodyCases(), headCases()} {
		for _, c := range cases {
			if len(c.request) < 3000 {
				f.Add(c.request)
			}
		}
	}
	w := startTwins(f, func(cfg *config.Config) { cfg.RateLimitPlan = "off" }, nil) // the clock stands still
	f.Fuzz(func(t *testing.T, request string) {
		if !ends(w.fill(request) + w.fill(last)) {
			t.Skip("it has no end, and the servers would wait")
		}
		w.compare(t, request, pipelined)
	})
}

// ends reports whether a text is a sequence of whole requests, or is refused.
func ends(text string) bool {
	in := bufio.NewReader(strings.NewReader(text))
	for {
		r, err := http.ReadRequest(in)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // wrapped, it is another one
			return true
		case errors.Is(err, io.ErrUnexpectedEOF):
			return false
		case err != nil:
			return true
		}
	}
}
