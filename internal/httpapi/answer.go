package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/wire"
)

// header sets a header whose name is in canonical form.
func header(w http.ResponseWriter, name, value string) { w.Header()[name] = []string{value} }

// writeBody writes a body of JSON.
func (c *call) writeBody(status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.write(status, data)
}

func (c *call) write(status int, data []byte) error { return WriteJSON(c.w, status, data) }

// WriteJSON ends data with a line feed, for terminals and line-based tools.
func WriteJSON(w http.ResponseWriter, status int, data []byte) error {
	data = append(data, '\n')
	header(w, "Content-Type", "application/json")
	SetPrivate(w)
	header(w, "Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, err := w.Write(data)
	return err
}

// finish responds without a body, or returns the error.
func (c *call) finish(err error) error {
	if err != nil {
		return err
	}
	return c.noContent()
}

// noContent responds without a body.
func (c *call) noContent() error {
	c.setPrivate()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) setPrivate() { SetPrivate(c.w) }

// SetPrivate keeps a response out of caches, and browsers from guessing its type.
func SetPrivate(w http.ResponseWriter) {
	header(w, "Cache-Control", "no-store")
	header(w, "X-Content-Type-Options", "nosniff")
}

// setWriteHeaders sets the headers of a write to a user's record: its revision, its cursor,
// and whether the request had been answered before.
func (a *API) setWriteHeaders(c *call, result *publish.Result) {
	header(c.w, "Etag", wire.ETag(result.Revision()))
	a.setCursorHeader(c, &result.Record)
	if result.Answer != nil {
		header(c.w, "Idempotency-Replayed", "true")
	}
}

// withBody reads the body for a handler, before any other check.
func withBody[T any](serve func(*call, *T) error) func(*call) error {
	return withBodyLimit(wire.MaxBody, serve)
}

// withLargeBody is withBody for requests about many users or sessions.
func withLargeBody[T any](serve func(*call, *T) error) func(*call) error {
	return withBodyLimit(wire.MaxQueryBody, serve)
}

func withBodyLimit[T any](limit int64, serve func(*call, *T) error) func(*call) error {
	return func(c *call) error {
		asked := new(T)
		if err := wire.ReadJSON(c.w, c.r, limit, asked); err != nil {
			return err
		}
		return serve(c, asked)
	}
}

// Required refuses a field that was left out, or null.
func Required(field string) error {
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

func at(i presence.Instant) api.Time { return api.At(i.Time()) }

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
