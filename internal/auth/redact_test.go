package auth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/auth"
)

const (
	aToken  = "pl_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_aBcDe"
	aTicket = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_aBcDe"

	aWebhookSecret = "whsec_AbCdEfGhIjKl/nOpQr+tUvWxYz0123456789+/aBcDe="
)

// TestRedact: whatever looks like a secret is redacted, and nothing else.
func TestRedact(t *testing.T) {
	hex := ""
	for i := range len(aToken) {
		hex += fmt.Sprintf("%%%02x", aToken[i])
	}
	for text, want := range map[string]string{
		aToken: "[redacted]", aTicket: "[redacted]", aWebhookSecret: "[redacted]",
		"/v1/" + aWebhookSecret + "/x?a=" + aWebhookSecret + "&b=c": "/v1/[redacted]/x?a=[redacted]&b=c",
		url.QueryEscape(url.QueryEscape(aWebhookSecret)) + "%2F":    "[redacted]%2F",
		"x%77hsec_" + aWebhookSecret[6:] + "x":                      "x[redacted]x",
		strings.ToUpper(aWebhookSecret) + "=,":                      "[redacted],",
		aWebhookSecret + aToken:                                     "[redacted][redacted]",
		"whsec_short whsec whsec_ a+b/c=d":                          "whsec_short whsec whsec_ a+b/c=d",
		"/v1/users/" + aToken + "/x":                                "/v1/users/[redacted]/x",
		"/v1/" + aTicket + "?ticket=" + aTicket:                     "/v1/[redacted]?ticket=[redacted]",
		aToken + "," + aToken:                                       "[redacted],[redacted]",
		aToken + aToken:                                             "[redacted]",
		"x" + aToken:                                                "x[redacted]",
		"x" + aToken[:20]:                                           "x" + aToken[:20],
		aToken[:20]:                                                 "[redacted]",
		"é" + aToken + "é":                                          "é[redacted]é",
		"%70l_" + aToken[3:]:                                        "[redacted]",
		"a%2F%2570%6c%255F" + aToken[3:]:                            "a%2F[redacted]",
		hex:                                                         "[redacted]",
		url.QueryEscape(url.QueryEscape(hex)):                       "[redacted]",
		strings.ToUpper(aToken):                                     "[redacted]",
		`"\` + aToken + `"`:                                         `"\[redacted]"`,
		"%%" + aTicket + "%":                                        "%%[redacted]%",
		"%zz" + aToken + "%2":                                       "%zz[redacted]%2",
		"pl_short pl_ops":                                           "pl_short pl_ops",
		aTicket + "x":                                               aTicket + "x", // an id of a different length
		"sha256//" + aTicket + "=":                                  "sha256//" + aTicket + "=", "sha256//" + aToken + "=": "sha256//[redacted]=",
		aTicket[1:]: aTicket[1:],
		"%25":       "%25", "%": "%", "": "", "%252": "%252", "plain text about pl_ and 100%": "plain text about pl_ and 100%",
		strings.Repeat("0123456789abcdef", 4): strings.Repeat("0123456789abcdef", 4),
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q is redacted to %q, want %q", text, got, want)
		}
	}
}

// TestRedactor: in log lines, escape sequences beside a secret are not taken for a part
// of it.
func TestRedactor(t *testing.T) {
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		for _, before := range []string{"", "\n", "\\", "\"", "\x01", "\u2028", "\U000e0001", "é", "<", "%", "="} {
			var out bytes.Buffer
			log := slog.New(handler(NewRedactor(&out)))
			log.Info("first", slog.String("value", before+aTicket), slog.Any("err", fmt.Errorf("%s%s: %s: %s", before, aTicket, before+aToken, before+aWebhookSecret)))
			log.Info("second")
			if text := out.String(); strings.Contains(text, aTicket[1:]) || strings.Contains(text, aWebhookSecret[20:]) || strings.Count(text, "[redacted]") != 4 || strings.Count(text, "\n") != 2 {
				t.Errorf("%s, after %q: %s", name, before, text)
			}
		}
	}
}

// FuzzRedactedJSON: a redacted JSON line is still valid JSON, whatever it contains.
func FuzzRedactedJSON(f *testing.F) {
	for _, text := range []string{"\n" + aTicket[1:], "\x00" + aTicket[5:], "\\\"" + aTicket, "%0A" + aTicket[3:], "\"" + aToken} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(NewRedactor(&out), nil)).Info("message", slog.String("value", text), slog.String("err", aToken+text))
		if !json.Valid(out.Bytes()) || strings.Contains(out.String(), aToken) {
			t.Errorf("%q", out.String())
		}
	})
}

// FuzzRedact: no delimited secret remains, whatever surrounds it, and redacting twice
// changes nothing.
func FuzzRedact(f *testing.F) {
	for _, text := range []string{"", "/", "%", "%2", "\\u00", "pl_", "=%25%25", "\xff"} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, secret := range []string{aToken, "%2570l_" + aToken[3:], aWebhookSecret} {
			got, part := Redact(before+"/"+secret+"/"+after), secret[len(secret)-40:]
			if strings.Contains(got, part) && !strings.Contains(before+after, part) || Redact(got) != got {
				t.Errorf("%q", got)
			}
			var out bytes.Buffer
			if n, err := NewRedactor(&out).Write([]byte(got)); err != nil || n != len(got) {
				t.Errorf("%d of %d bytes, %v", n, len(got), err)
			}
		}
	})
}
