package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// show answers a GET whose representation has an entity tag, or "" for none, as far
// as the conditions of the request ask for it.
func (c *call) show(tag string, data []byte) error {
	asks, err := wire.ReadCondition(c.r)
	if err != nil {
		return err
	}
	if !asks.Matched(tag, true) {
		return presence.ErrPrecondition
	}
	if tag != "" {
		header(c.w, "Etag", tag)
	}
	if asks.Excluded(tag, true) {
		c.seal()
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.write(http.StatusOK, data)
}

// represent answers a GET with a body that identifies its version by itself.
func (c *call) represent(body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.show(`"`+digest(data)+`"`, data)
}

// representAs answers a GET with a body whose version is identified by tag.
func (c *call) representAs(tag string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.show(tag, data)
}

// meets is nil if a write's conditions hold for what it is about. exists is false
// where the write would make it.
func (c *call) meets(tag string, exists bool) error {
	asks, err := wire.ReadCondition(c.r)
	if err == nil && (!asks.Matched(tag, exists) || asks.Excluded(tag, exists)) {
		err = presence.ErrPrecondition
	}
	return err
}

// creates is meets for a POST to a list, which exists and has no tag that a write
// could be made to depend on.
func (c *call) creates() error { return c.meets("", true) }

// conditional reports whether the request has conditions.
func (c *call) conditional() bool {
	return len(c.r.Header["If-Match"])+len(c.r.Header["If-None-Match"]) > 0
}

// attempts bounds how often a change that lost a race is retried.
const attempts = 8

// again runs try until it does not lose a race. try reads afresh what it depends on.
func again(try func() error) error {
	err := try()
	for n := 1; n < attempts && errors.Is(err, store.ErrConflict); n++ {
		err = try()
	}
	return err
}

// tagOf is the entity tag of a representation of which the store has this version.
func tagOf(version string, body any) string {
	data, _ := json.Marshal([]any{version, body}) // only plain fields are in it
	return `"` + digest(data) + `"`
}

// recordTag is the entity tag of what is shown of a user's record together with
// what changes without a commit. As a condition it stands for the revision.
func recordTag(r presence.Revision, body any) string {
	data, _ := json.Marshal(body) // only plain fields are in it
	tag := wire.ETag(r)
	return tag[:len(tag)-1] + "-" + digest(data) + `"`
}

const digestBytes = 9

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:digestBytes])
}
