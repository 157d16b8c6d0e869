package zoomapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/webhook"
)

// zoomExample is the example of Zoom's documentation.
const zoomExample = `{"event":"user.presence_status_updated","event_ts":1626230691572,"payload":{"account_id":"AAAAAABBBB","object":{"date_time":"2019-11-26T20:13:57Z","email":"jchill@example.com","id":"abcD3ojfdbjfg","presence_status":"Away","app":{"type":"mobile","presence_status":"Offline"}}}}`

// TestEventSignature: the signature was computed by Zoom's own receiver, rivet.
func TestEventSignature(t *testing.T) {
	h := EventForm{}.Headers("whsec", "evt_ABC", time.Unix(1739923528, 999), []byte(zoomExample))
	for name, want := range map[string]string{
		"x-zm-signature":         "v0=2db695061db26ff8eabd03b89764f4a60645525422af3ea25ef08f2290f3a299",
		"x-zm-request-timestamp": "1739923528",
		"x-zm-request-id":        "evt_abc",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if len(h) != 3 {
		t.Errorf("headers are %v", h)
	}
}

// TestEventChallenge: the answer was computed by rivet.
func TestEventChallenge(t *testing.T) {
	const token, encrypted = "qgg8vlvZRS6UYooatFL8Aw", "578b8d6bb754f5457ba891570620d73f823339ffe3bd2580e8c65be71862b095"
	c := EventForm{}.Challenge("whsec", token, time.UnixMilli(1654503849680))
	if want := `{"payload":{"plainToken":"` + token + `"},"event_ts":1654503849680,"event":"endpoint.url_validation"}`; string(c.Event.Body) != want {
		t.Errorf("the challenge is %s, want %s", c.Event.Body, want)
	}
	if c.Method != http.MethodPost || c.Event.Header.Get("User-Agent") != "Zoom Marketplace/1.0a" {
		t.Errorf("the request is %s with %v", c.Method, c.Event.Header)
	}
	right := `{"plainToken":"` + token + `","encryptedToken":"` + encrypted + `"}`
	for _, row := range []struct {
		status int
		body   string
		want   string // in the error; "": none
	}{
		{200, right, ""},
		{200, " " + strings.Replace(right, ",", ",\n \"message\": 1,", 1) + "\n", ""},
		{204, right, ""},
		{201, right, "answered 201"},
		{302, right, "answered 302"},
		{200, "", "not a JSON object"},
		{204, "", "not a JSON object"},
		{200, "<html>", "not a JSON object"},
		{200, `{"encryptedToken":"` + encrypted + `"}`, "plainToken"},
		{200, `{"plainToken":"another","encryptedToken":"` + encrypted + `"}`, "plainToken"},
		{200, `{"plainToken":"` + token + `"}`, "encryptedToken"},
		{200, strings.Replace(right, "578b", "578c", 1), "right secret"},
	} {
		err := c.Check(row.status, nil, []byte(row.body))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%d %s: %v, want %q", row.status, row.body, err, row.want)
		}
	}
}

// TestEventProfile: retries follow 5, 25 and 85 minutes after the first attempt.
func TestEventProfile(t *testing.T) {
	p, after := EventProfile(), time.Duration(0)
	for i, want := range []time.Duration{5 * time.Minute, 25 * time.Minute, 85 * time.Minute} {
		if after += p.Delays[i]; after != want {
			t.Errorf("retry %d comes %v after the first attempt, want %v", i+1, after, want)
		}
	}
	if len(p.Delays) != 3 || p.Timeout != 3*time.Second || p.RetryClientErrors {
		t.Errorf("the profile is %+v", p)
	}
}

// TestEventSamples: there is a sample of every type, and it is an event that could occur.
func TestEventSamples(t *testing.T) {
	for _, eventType := range (EventForm{}).Types() {
		e, ok := EventForm{}.Sample(zoomAccount, eventType, jchill(), zoomTime())
		if !ok || e.Type != eventType || !strings.HasPrefix(string(e.Body), `{"event":"`+eventType+`","event_ts":1574799237572,`) {
			t.Errorf("the sample of %s is %v, %s", eventType, ok, e.Body)
		}
		if !strings.Contains(string(e.Body), string(zoomUser)) {
			t.Errorf("the sample of %s is not about the user: %s", eventType, e.Body)
		}
	}
	if _, ok := (EventForm{}).Sample(zoomAccount, "meeting.started", jchill(), zoomTime()); ok {
		t.Error("there is a sample of a type that does not exist")
	}
}

func TestEventGap(t *testing.T) {
	e := EventForm{}.Gap(zoomAccount, "sub", &webhook.Gap{From: 3, To: 9, Reason: "retention", At: zoomTime()})
	want := `{"event":"porchlight.gap","event_ts":1574799237572,"payload":{"account_id":"AAAAAABBBB","object":{"event_subscription_id":"sub","from_position":"3","to_position":"9","reason":"retention"}}}`
	if string(e.Body) != want || e.At != 9 || e.Type != "porchlight.gap" {
		t.Errorf("the gap is %s at %d, want %s", e.Body, e.At, want)
	}
}

// TestEventVocabulary: every status has a word of Zoom's enumeration, which distinguishes
// mobile devices only while the user is available.
func TestEventVocabulary(t *testing.T) {
	documented := map[string]bool{"Out_of_Office": false} // in every other enumeration
	for _, word := range []string{
		"Available", "Away", "Do_Not_Disturb", "In_Meeting", "Presenting", "On_Phone_Call", "In_Calendar_Event", "Offline", "Busy", "Mobile_signed_in",
	} {
		documented[word] = false
	}
	for _, s := range presence.Statuses() {
		for _, handheld := range []bool{false, true} {
			word := eventWord(&presence.Presence{Status: s, Handheld: handheld})
			if _, ok := documented[word]; !ok {
				t.Errorf("%v is %q, which Zoom does not document", s, word)
			}
			if (word == "Mobile_signed_in") != (handheld && s == presence.Available) {
				t.Errorf("%v is %q with handheld %v", s, word, handheld)
			}
			documented[word] = true
		}
	}
	for word, used := range documented {
		if !used {
			t.Errorf("no status has the word %s", word)
		}
	}
}
