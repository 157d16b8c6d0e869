package zoomapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// stringify is JSON.stringify(JSON.parse(body)) of a body without fractions and without
// members that JavaScript would sort: encoding/json with what JavaScript does not escape.
func stringify(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var open []json.Delim
	members := 0 // read in the innermost value
	var stack []int
	for dec.More() || len(open) > 0 {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		end, isDelim := token.(json.Delim)
		closes := isDelim && (end == '}' || end == ']')
		switch object := len(open) > 0 && open[len(open)-1] == '{'; {
		case closes:
			members, stack, open = stack[len(stack)-1], stack[:len(stack)-1], open[:len(open)-1]
		case object && members%2 == 1:
			out.WriteByte(':')
			members++
		case members > 0:
			out.WriteByte(',')
			members++
		default:
			members++
		}
		switch v := token.(type) {
		case json.Delim:
			out.WriteString(v.String())
			if !closes {
				open, stack, members = append(open, v), append(stack, members), 0
			}
		case json.Number:
			out.WriteString(v.String())
		default:
			out.Write(jsonOf(t, v))
		}
	}
	return out.Bytes()
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	// encoding/json escapes these for the sake of JSONP.
	escaped := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029")
	return []byte(escaped.Replace(strings.TrimSuffix(out.String(), "\n")))
}

// FuzzEventBytes: whatever is in the log and in the directory, the bytes of every event
// are those that a receiver in JavaScript gets when it parses them and writes them again.
func FuzzEventBytes(f *testing.F) {
	f.Add("jchill@example.com", "Jill", "note", "mobile", "5.17.5", byte(store.CauseNote))
	f.Add("<&>\u2028\u2029\u0000\u001f\u007f", "\\\"/\b\f\n\r\t", "\xff\xed\xa0\x80\U0001f600\ufffd\ufeff", "__proto__", "1e400", byte(store.CauseCreated))
	f.Fuzz(func(t *testing.T, email, name, note, client, version string, cause byte) {
		p := &webhook.Person{ID: presence.UserID(name), Email: email, FirstName: name, LastName: email, DisplayName: note, Department: note}
		e := store.Entry{
			User: store.User{Account: presence.AccountID(email), ID: presence.UserID(name)}, Time: zoomTime(),
			By:     store.By{Cause: store.Cause(cause % 17), Actor: store.Actor{User: presence.UserID(note), App: presence.AppID(name)}},
			After:  presence.Presence{Status: presence.Available},
			Origin: presence.Origin{Client: presence.Client{Type: presence.ClientType(client), Version: version, Status: presence.Status(cause % 2)}},

			UserBefore: store.UserFacts{Note: note}, UserAfter: store.UserFacts{Note: name},
			Began: []store.SessionFacts{{Client: presence.ClientType(client), Version: version}}, Ended: []store.SessionFacts{{Client: presence.ClientType(name), Version: email}},
			Profiles: presence.Profiles{Profile: &presence.Profile{Email: email, DisplayName: name}, ProfileBefore: &presence.Profile{Email: note, Department: client}},
		}
		for _, event := range (EventForm{}).Encode(&e, p, p) {
			if got := stringify(t, event.Body); !bytes.Equal(got, event.Body) || !utf8.Valid(event.Body) {
				t.Errorf("JavaScript makes\n%s\nof\n%s", got, event.Body)
			}
		}
	})
}
