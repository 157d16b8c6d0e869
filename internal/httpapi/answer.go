package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/wire"
)

// header sets a header whose name is in canonical form.
func header(w http.ResponseWriter, name, value string) { w.Header()[name] = []string{value} }

// answer writes a body of JSON.
func (c *call) answer(status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.write(status, data)
}

// write ends data with a line feed, for terminals and line-based tools.
func (c *call) write(status int, data []byte) error {
	data = append(data, '\n')
	header(c.w, "Content-Type", "application/json")
	c.seal()
	header(c.w, "Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(status)
	_, err := c.w.Write(data)
	return err
}

// nothing answers without a body.
func (c *call) nothing() error {
	c.seal()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// seal keeps what is answered out of caches, and browsers from guessing at it.
func (c *call) seal() {
	header(c.w, "Cache-Control", "no-store")
	header(c.w, "X-Content-Type-Options", "nosniff")
}

// tell gives the headers of a write to a user's record: its revision, and
// whether the request had been answered before.
func (c *call) tell(result *publish.Result) {
	header(c.w, "Etag", wire.ETag(result.Revision()))
	if result.Answer != nil {
		header(c.w, "Idempotency-Replayed", "true")
	}
}

// read reads the body.
func (c *call) read(limit int64, into any) error { return wire.ReadJSON(c.w, c.r, limit, into) }

// required refuses a field that was left out, or null.
func required(field string) error {
	return &presence.FieldError{Field: field, Reason: "is required"}
}

// conditions reads Idempotency-Key and If-Match. asked is what was understood of
// the request, path and body.
func (c *call) conditions(asked any, path ...string) (presence.Request, error) {
	text, err := json.Marshal([]any{path, asked})
	if err != nil {
		return presence.Request{}, err
	}
	return wire.Conditions(c.r, c.p, text)
}

// origin is the app on whose own account the caller acts or, for a user's token, the
// app that the token was made for. The other is "".
func origin(p *auth.Principal) (app, via presence.AppID) {
	if p.AccountLevel {
		return p.App, ""
	}
	return "", p.App
}

func at(i presence.Instant) api.Time { return api.At(i.Time()) }

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
