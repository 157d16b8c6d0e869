package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// CloudEvents writes the events of another form as CloudEvents 1.0: their bodies are the
// data.
type CloudEvents struct {
	// Data writes the data, in JSON.
	Data Form
	// Binary sends the attributes as headers, instead of in the body.
	Binary bool
	// Epoch is that of the store, on which the ids of events depend.
	Epoch func() string
	// Origin is the host that asks for permission to send, of this server.
	Origin string
}

var _ Form = (*CloudEvents)(nil)

// Name is "cloudevents" or "cloudevents-binary".
func (c *CloudEvents) Name() string {
	if c.Binary {
		return "cloudevents-binary"
	}
	return "cloudevents"
}

// typePrefix is before the types of the data, because types must be globally unique.
const typePrefix = "dev.porchlight."

// Types are those of the data, with a prefix.
func (c *CloudEvents) Types() []string {
	types := make([]string, 0, len(c.Data.Types()))
	for _, name := range c.Data.Types() {
		types = append(types, typePrefix+name)
	}
	return types
}

// Encode implements Form.
func (c *CloudEvents) Encode(e *store.Entry, who, actor *Person) []Event {
	events := c.Data.Encode(e, who, actor)
	for i := range events {
		c.wrap(e.User.Account, &events[i], eventID(c.Epoch(), uint64(e.At), i))
	}
	return events
}

// Gap implements Form.
func (c *CloudEvents) Gap(account presence.AccountID, subscription string, g *Gap) Event {
	e := c.Data.Gap(account, subscription, g)
	c.wrap(account, &e, gapID(c.Epoch(), account, subscription, g))
	return e
}

// Sample implements Form.
func (c *CloudEvents) Sample(account presence.AccountID, eventType string, who *Person, at time.Time) (Event, bool) {
	return SampleOf(c, account, eventType, who, at)
}

// attributes are those of a CloudEvent, in the order in which they are written.
type attributes struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Subject     string         `json:"subject,omitzero"`
	Time        string         `json:"time"`
	ContentType string         `json:"datacontenttype"`
	Data        jsontext.Value `json:"data"`
}

func (c *CloudEvents) wrap(account presence.AccountID, e *Event, id string) {
	e.Type = typePrefix + e.Type
	a := attributes{
		SpecVersion: "1.0", ID: id, Source: "urn:porchlight:account:" + string(account), Type: e.Type, Subject: string(e.User),
		Time: e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), ContentType: "application/json", Data: e.Body,
	}
	if c.Binary {
		e.Header = a.header()
		return
	}
	body, err := json.Marshal(&a, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // the data is what another encoder wrote
	}
	e.Header, e.Body = http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}, body
}

// header has the attributes as the HTTP binding writes them.
func (a *attributes) header() http.Header {
	h := http.Header{"Content-Type": {a.ContentType}}
	for name, value := range map[string]string{
		"Ce-Specversion": a.SpecVersion, "Ce-Id": a.ID, "Ce-Source": a.Source, "Ce-Type": a.Type, "Ce-Subject": a.Subject, "Ce-Time": a.Time,
	} {
		if value != "" {
			h[name] = []string{percentEncode(value)}
		}
	}
	return h
}

// percentEncode encodes what the HTTP binding does not allow in a header: all but
// printable ASCII, and space, quotes and percent signs.
func percentEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Headers adds nothing to those of Standard Webhooks.
func (c *CloudEvents) Headers(_, _ string, _ time.Time, _ []byte) http.Header { return nil }

// The headers of the handshake of "HTTP 1.1 Web Hooks for Event Delivery", section 4.
const (
	headerRequestOrigin = "Webhook-Request-Origin"
	headerAllowedOrigin = "Webhook-Allowed-Origin"
)

// Challenge asks for permission to send. It asks for no rate, so the endpoint needs to
// state none.
func (c *CloudEvents) Challenge(_, _ string, at time.Time) Challenge {
	return Challenge{
		Method: http.MethodOptions,
		Event:  Event{Type: "validation", Time: at, Header: http.Header{headerRequestOrigin: {c.Origin}}},
		Check: func(status int, header http.Header, _ []byte) error {
			if status < 200 || status > 299 {
				return fmt.Errorf("the endpoint answered %d to OPTIONS, want 2xx", status)
			}
			for _, allowed := range header.Values(headerAllowedOrigin) {
				if allowed = strings.TrimSpace(allowed); allowed == "*" || strings.EqualFold(allowed, c.Origin) {
					return nil
				}
			}
			if allowed := header.Get(headerAllowedOrigin); allowed != "" {
				return fmt.Errorf("the endpoint allows events of %.100q, want %s or *, in the header WebHook-Allowed-Origin", allowed, c.Origin)
			}
			return errors.New("the answer to OPTIONS has no header WebHook-Allowed-Origin: does the endpoint receive CloudEvents?")
		},
	}
}
