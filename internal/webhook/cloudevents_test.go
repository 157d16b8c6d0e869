package webhook_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

func cloudForm(binary bool) *webhook.CloudEvents {
	return &webhook.CloudEvents{
		Data: httpapi.EventForm{}, Binary: binary, Epoch: func() string { return "epoch" }, Origin: "presence.example.com",
	}
}

// readCloudEvent reads an event as the SDK of CloudEvents does.
func readCloudEvent(t *testing.T, e *webhook.Event) *cloudevents.Event {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(e.Body))
	r.Header = e.Header
	got, err := cloudevents.NewEventFromHTTPRequest(r)
	if err == nil {
		err = got.Validate()
	}
	if err != nil {
		t.Fatalf("%s: %v\n%v %s", e.Type, err, e.Header, e.Body)
	}
	return got
}

// TestCloudEvents: the SDK reads both modes and finds the attributes, and the event of the
// form of the data, byte for byte.
func TestCloudEvents(t *testing.T) {
	entry := store.Entry{
		At: 7, User: store.User{Account: "acme", ID: "ada \"ñ\"%"}, Revision: 41, Time: time.Date(2026, 3, 1, 9, 30, 0, 5e6, time.UTC),
		After: presence.Presence{Status: presence.Busy, Note: "<b> & \u2028"}, Began: []store.SessionFacts{{ID: "s"}},
	}
	who := &webhook.Person{ID: entry.User.ID, Email: "ada@example.com"}
	data := httpapi.EventForm{}.Encode(&entry, who, nil)
	ids := make(map[string]bool)
	for _, form := range []*webhook.CloudEvents{cloudForm(false), cloudForm(true)} {
		for i, e := range form.Encode(&entry, who, nil) {
			got := readCloudEvent(t, &e)
			if !bytes.Equal(got.Data(), data[i].Body) {
				t.Errorf("%s: the data are %s, want %s", form.Name(), got.Data(), data[i].Body)
			}
			subject := got.Subject()
			if form.Binary { // the SDK does not decode what the HTTP binding encodes
				subject, _ = url.PathUnescape(subject)
			}
			if got.SpecVersion() != "1.0" || got.Type() != "dev.porchlight."+data[i].Type || got.Type() != e.Type || got.Source() != "urn:porchlight:account:acme" ||
				subject != string(who.ID) || !got.Time().Equal(entry.Time) || got.DataContentType() != "application/json" {
				t.Errorf("%s: %v", form.Name(), got)
			}
			if e.At != 7 || e.Index != i || e.Revision != 41 || e.User != who.ID {
				t.Errorf("%s: event %d is %+v", form.Name(), i, e)
			}
			ids[got.ID()] = true
		}
	}
	if len(ids) != 2 {
		t.Errorf("two events have the ids %v", ids)
	}
}

// TestCloudEventsOfEveryType: the types are names of their own, and there is a sample of
// each that the SDK accepts.
func TestCloudEventsOfEveryType(t *testing.T) {
	for _, form := range []*webhook.CloudEvents{cloudForm(false), cloudForm(true)} {
		if len(form.Types()) != len(httpapi.EventForm{}.Types()) {
			t.Errorf("%s has the types %v", form.Name(), form.Types())
		}
		for _, eventType := range form.Types() {
			e, ok := form.Sample("acme", eventType, &webhook.Person{ID: "ada"}, time.Now())
			if !ok {
				t.Fatalf("%s has no sample of %s", form.Name(), eventType)
			}
			if got := readCloudEvent(t, &e); got.Type() != eventType || !strings.HasPrefix(eventType, "dev.porchlight.") {
				t.Errorf("%s: the sample of %s is %v", form.Name(), eventType, got)
			}
		}
		gap := form.Gap("acme", "sub", &webhook.Gap{From: 3, To: 9, Reason: "retention", At: time.Now()})
		if got := readCloudEvent(t, &gap); got.Type() != "dev.porchlight.gap" || got.Subject() != "" || got.ID() == "" {
			t.Errorf("%s: the gap is %v", form.Name(), got)
		}
	}
}

// TestCloudEventsIDs: the id in a structured event is that of the header.
func TestCloudEventsIDs(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		form := cloudForm(false)
		form.Epoch = st.Epoch
		sub := subscription("s")
		sub.Form = form.Name()
		f := newFixture(t, st, sub)
		f.forms = []webhook.Form{form}
		f.start()
		synctest.Wait()
		f.note("u", "one")
		synctest.Wait()
		arrivals := f.network.endpoint(sub.URL).all()
		if len(arrivals) != 2 { // the note, and what is shown
			t.Errorf("%d events arrived", len(arrivals))
		}
		for _, a := range arrivals {
			if got := readCloudEvent(t, a.Event); got.ID() != a.ID {
				t.Errorf("the id is %s, and in the header %s", got.ID(), a.ID)
			}
		}
	})
}

// TestCloudEventsHandshake: the SDK's receiver permits events, and nothing else does.
func TestCloudEventsHandshake(t *testing.T) {
	allow := func(origin string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodOptions || r.Header.Get("WebHook-Request-Origin") != "presence.example.com" || r.ContentLength > 0 {
				t.Errorf("%s %v", r.Method, r.Header)
			}
			if origin != "" {
				w.Header().Set("WebHook-Allowed-Origin", origin)
			}
		}
	}
	receiver := func(origins ...string) http.HandlerFunc {
		p, err := cehttp.New(cehttp.WithDefaultOptionsHandlerFunc([]string{http.MethodPost}, 100, origins, false))
		apptest.Check(t, err)
		return p.OptionsHandler
	}
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		want    string // in the error; "": none
	}{
		"the SDK, any origin":     {receiver("*"), ""},
		"the SDK, this origin":    {receiver("presence.example.com"), ""},
		"the SDK, another origin": {receiver("elsewhere.example.com"), "400"},
		"this origin":             {allow("Presence.Example.com"), ""},
		"any origin":              {allow(" * "), ""},
		"another origin":          {allow("elsewhere.example.com"), "elsewhere.example.com"},
		"no origin":               {allow(""), "no header WebHook-Allowed-Origin"},
		"not found":               {http.NotFound, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSender(t, row.handler)
			f.Forms = []webhook.Form{cloudForm(true)}
			s := f.subscription()
			s.Form = f.Forms[0].Name()
			err := f.Validate(context.Background(), s)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}
