package server_test

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/server"
)

// percentEncode encodes every byte of text.
func percentEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

// A canary is a secret whose occurrences a test looks for.
type canary struct{ name, secret string }

// encodings returns the secret as it is, and percent-encoded once and twice, in part
// and as a whole.
func (c canary) encodings() []string {
	part := "%" + fmt.Sprintf("%02x", c.secret[0]) + c.secret[1:]
	return []string{c.secret, part, percentEncode(c.secret), url.QueryEscape(part), url.QueryEscape(percentEncode(c.secret)), strings.ReplaceAll(part, "%", "%2525")}
}

// occursIn reports whether a text contains the secret in any encoding.
func (c canary) occursIn(text string) bool {
	for _, form := range append(c.encodings(), hex.EncodeToString([]byte(c.secret))) {
		if strings.Contains(text, form) {
			return true
		}
	}
	return c.occursInBase64(text) || len(c.secret) > 40 && strings.Contains(text, c.secret[10:40])
}

// occursInBase64 reports whether a text contains the secret in Base64, in which it may
// follow something else, such as a client id in a header.
func (c canary) occursInBase64(text string) bool {
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for before := range 3 {
			form := encoding.EncodeToString([]byte(strings.Repeat("x", before) + c.secret))
			end := len(form) - 4 // what follows the secret changes its last characters
			if before == 0 && len(c.secret)%3 == 0 {
				end = len(form)
			}
			if begin := before * 2; end-begin >= 8 && strings.Contains(text, form[begin:end]) {
				return true
			}
		}
	}
	return false
}

// TestSecretsAreNotLogged puts a token, a ticket and an app's secret wherever a client
// can put one. Neither the server's outputs nor its error responses contain them.
func TestSecretsAreNotLogged(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		cfg := settings(t)
		cfg.AccessLog, cfg.LogLevel, cfg.LogFormat = "on", "debug", format
		access := new(lockedBuffer)
		r := start(t, cfg, server.Options{AccessLog: access})
		ticket, err := r.client.Ticket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		canaries := []canary{{"token", r.made.AccessToken}, {"ticket", ticket.Ticket}, {"client secret", r.made.ClientSecret}}
		for _, c := range canaries {
			for i, form := range c.encodings() {
				answers := r.sendSecret(t, c, form)
				for asked, answer := range answers {
					if c.occursIn(answer) {
						t.Errorf("%s, encoding %d: the response to %s contains it: %s", c.name, i, asked, answer)
					}
				}
			}
			r.sendSecretFrames(t, c.secret)
		}
		_, metrics := r.get(t, r.AdminURL()+"/metrics")
		r.stop(server.ErrInterrupted)
		if err := r.wait(t); err != nil {
			t.Error(err)
		}
		for name, output := range map[string]string{"access log": access.String(), "log": r.log.String(), "metrics": metrics} {
			if len(output) == 0 {
				t.Errorf("the %s is empty", name)
			}
			for line := range strings.Lines(output) {
				for _, c := range canaries {
					if c.occursIn(line) {
						t.Errorf("%s in the %s: %s", c.name, name, line)
					}
				}
			}
		}
	}
}

// sendSecret sends requests that contain a secret, and returns the responses to those
// that are refused.
func (r *running) sendSecret(t *testing.T, c canary, form string) map[string]string {
	t.Helper()
	bearer := "Authorization: Bearer " + r.made.AccessToken
	refused := make(map[string]string)
	for _, request := range []string{
		"GET /v1/users/" + form + " HTTP/1.1\r\nHost: x\r\n" + bearer,
		"GET /v1/users/" + form + "/presence HTTP/1.1\r\nHost: x\r\n" + bearer,
		"PUT /v1/users/me/claims/" + form + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + bearer + "\r\n\r\n{}",
		"GET /v2/users/" + form + "/presence_status HTTP/1.1\r\nHost: x\r\n" + bearer,
		"GET /v2/" + form + " HTTP/1.1\r\nHost: x\r\n" + bearer,
		"GET /docs/problems/" + form + " HTTP/1.1\r\nHost: localhost",
		"POST /oauth/" + form + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
		"GET /" + form + " HTTP/1.1\r\nHost: x",
		"GET //" + form + "/../x HTTP/1.1\r\nHost: x",
		"GET http://" + c.secret + "/v1/me HTTP/1.1\r\nHost: x",
		"GET /v1/me?access_token=" + form + " HTTP/1.1\r\nHost: x",
		"GET /v1/users?" + form + "=1 HTTP/1.1\r\nHost: x\r\n" + bearer,
		"GET /v1/users?after=" + form + "&limit=" + form + " HTTP/1.1\r\nHost: x\r\n" + bearer,
		"GET /v1/stream?ticket=x" + form + " HTTP/1.1\r\nHost: localhost",
		"GET /v1/stream?users=" + form + "&contacts=" + form + " HTTP/1.1\r\nHost: localhost\r\n" + bearer,
		"GET /v1/presence/changes?users=" + form + "&cursor=" + form + "&wait=" + form + " HTTP/1.1\r\nHost: x\r\n" + bearer,
		c.secret + " /v1/me HTTP/1.1\r\nHost: x",
		c.secret + " /v2/contacts HTTP/1.1\r\nHost: x",
		c.secret + " /oauth/token HTTP/1.1\r\nHost: x",
		c.secret + " /nothing HTTP/1.1\r\nHost: x",
		"GET /me HTTP/1.1\r\nHost: " + c.secret + ".example",
		"POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nOrigin: https://" + form,
		"GET /v1/me HTTP/1.1\r\nHost: x\r\nReferer: http://x/" + form + "\r\nUser-Agent: " + form + "\r\nCookie: a=" + form + "\r\nX-Forwarded-For: " + form,
		"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: " + form,
		"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x" + form,
		"GET /v1/me HTTP/1.1\r\nHost: x\r\n" + bearer + "\r\nX-Request-Id: " + form + "\r\nIf-None-Match: " + form,
		"PUT /v1/users/me/note HTTP/1.1\r\nHost: x\r\nIf-Match: " + form + "\r\nContent-Length: 2\r\n" + bearer + "\r\n\r\n{}",
		"PUT /v1/users/me/note HTTP/1.1\r\nHost: x\r\nContent-Type: " + form + "\r\nContent-Length: 2\r\n" + bearer + "\r\n\r\n{}",
		"PUT /v1/users/me/note HTTP/1.1\r\nHost: x\r\nContent-Encoding: " + form + "\r\nContent-Length: 2\r\n" + bearer + "\r\n\r\n{}",
		"PUT /v2/users/ada@example.com/presence_status HTTP/1.1\r\nHost: x\r\nContent-Type: " + form + "\r\nContent-Length: 2\r\n" + bearer + "\r\n\r\n{}",
		"GET /" + form + " HTTP/9.9\r\nHost: x",
		"GET /x" + form + " y HTTP/1.1\r\nHost: x",
		"GET /x HTTP/1.1\r\nHost: " + c.secret + " " + c.secret,
		"GET /x HTTP/1.1\r\n" + c.secret + " x: " + form,
		withBody("PUT /v1/users/me/note", bearer, `{"`+form+`":1}`),
		withBody("PUT /v1/users/me/note", bearer, `{"text":{"`+form+`":1}}`),
		withBody("PUT /v1/users/me/note", bearer, `{"text":"x","until":"`+form+`"}`),
		withBody("PUT /v1/users/me/note", bearer, form),
		withBody("PUT /v1/users/me/claims/x", bearer, `{"source":"`+form+`","status":"`+form+`"}`),
		withBody("POST /v1/presence/query", bearer, `{"users":["me"],"`+form+`":["`+form+`"]}`),
		withBody("POST /v1/tokens", bearer, `{"scopes":["`+form+`"]}`),
		withBody("POST /v1/users", bearer, `{"email":"`+form+`"}`),
		withBody("PUT /v2/users/ada@example.com/presence_status", bearer, `{"status":"`+form+`"}`),
		withBody("POST /v1/watches", bearer, `{"target":"`+form+`","status":"`+form+`"}`),
		strings.Replace(withBody("POST /oauth/token", "", "grant_type="+form+"&"+form+"=1"), "application/json", "application/x-www-form-urlencoded", 1),
		strings.Replace(withBody("POST /oauth/token", "", form+"=1&"+form+"=2"), "application/json", "application/x-www-form-urlencoded", 1),
		strings.Replace(withBody("POST /oauth/token", "", "grant_type=client_credentials&client_id="+r.made.ClientID+"&client_secret="+r.made.ClientSecret+"&scope="+form), "application/json", "application/x-www-form-urlencoded", 1),
	} {
		if !strings.Contains(request, "\r\n\r\n") {
			request += "\r\n\r\n"
		}
		conn := r.dial(t)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		if resp.StatusCode >= 400 {
			resp.Body = io.NopCloser(io.LimitReader(resp.Body, max(resp.ContentLength, 0)))
			refused[request] = readAll(t, resp) + fmt.Sprint(resp.Header)
		}
		_ = conn.Close()
	}
	return refused
}

func withBody(line, header, body string) string {
	if header != "" {
		header += "\r\n"
	}
	return fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", line, header, len(body), body)
}

// sendSecretFrames sends frames that contain a secret.
func (r *running) sendSecretFrames(t *testing.T, secret string) {
	t.Helper()
	s := r.open(t, r.made.AccessToken, "")
	frames := []string{
		`{"type":"` + secret + `"}`, `{"type":"ping","` + secret + `":1}`, `{"type":"follow","users":["` + secret + `"],"cursor":"` + secret + `"}`,
		`{"type":"sign_in","client_type":"` + secret + `"}`, `{"type":"claim","claim":"` + secret + `","status":"` + secret + `"}`, secret,
	}
	for i, frame := range frames {
		if err := s.sendText(frame); err != nil {
			t.Fatal(err)
		}
		_, payload, err := s.next()
		if err != nil {
			t.Fatalf("after frame %d: %v", i, err)
		}
		if strings.Contains(string(payload), `"type":"error"`) && strings.Contains(string(payload), secret[10:40]) {
			t.Errorf("the response to %s contains it: %s", frame, payload)
		}
	}
	_ = s.Close()
}
