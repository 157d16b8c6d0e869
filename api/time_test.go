package api_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
)

func TestTime(t *testing.T) {
	for in, want := range map[string]string{
		`"2026-03-01T09:30:00Z"`:              `"2026-03-01T09:30:00.000Z"`,
		`"2026-03-01T10:30:00.1239999+01:00"`: `"2026-03-01T09:30:00.123Z"`,
		`null`:                                `null`,
	} {
		var got api.Time
		if err := json.Unmarshal([]byte(in), &got); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if out, _ := json.Marshal(got); string(out) != want {
			t.Errorf("%s became %s, want %s", in, out, want)
		}
	}
	for _, in := range []string{`""`, `"2026-03-01"`, `1772357400`, `{}`, `"2026-03-01 09:30:00Z"`, `"2026-02-30T00:00:00Z"`} {
		var got api.Time
		if err := json.Unmarshal([]byte(in), &got); !errors.Is(err, api.ErrTime) {
			t.Errorf("%s: got %v and error %v, want ErrTime", in, got, err)
		}
	}
	if text := api.At(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600))).String(); text != "2026-01-02T02:04:05.006Z" {
		t.Error(text)
	}
}

// TestParseTime has what the grammar of RFC 3339 allows and what it does not.
func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"2026-03-01T09:30:00Z":                                  "2026-03-01T09:30:00Z",
		"2026-03-01t09:30:00z":                                  "2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00.5Z":                                "2026-03-01T09:30:00.5Z",
		"2026-03-01T09:30:00." + strings.Repeat("1", 200) + "Z": "2026-03-01T09:30:00.111111111Z",
		"2026-03-01T09:30:00.000000000999Z":                     "2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00+00:00":                             "2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00-00:00":                             "2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00+23:59":                             "2026-02-28T09:31:00Z",
		"2026-03-01T09:30:00.25-23:59":                          "2026-03-02T09:29:00.25Z",
		"2026-03-01T00:00:00+05:45":                             "2026-02-28T18:15:00Z",
		"2024-02-29T00:00:00Z":                                  "2024-02-29T00:00:00Z",
		"2000-02-29T23:59:59Z":                                  "2000-02-29T23:59:59Z",
		"0000-01-01T00:00:00Z":                                  "0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z":                        "9999-12-31T23:59:59.999999999Z",
		"1990-12-31T23:59:60Z":                                  "1991-01-01T00:00:00Z",
		"1990-12-31T15:59:60-08:00":                             "1991-01-01T00:00:00Z",
		"2015-07-01T05:44:60.75+05:45":                          "2015-07-01T00:00:00.75Z",
		"2026-06-30T23:59:60Z":                                  "2026-07-01T00:00:00Z",
	} {
		got, err := api.ParseTime(text)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "x", "2026-03-01", "2026-03-01T09:30:00", "2026-03-01T09:30Z", "2026-03-01 09:30:00Z", "2026-03-01_09:30:00Z",
		"2026-03-01T9:30:00Z", "2026-3-01T09:30:00Z", "026-03-01T09:30:00Z", "12026-03-01T09:30:00Z", "+2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00,5Z", "2026-03-01T09:30:00.Z", "2026-03-01T09:30:00. 5Z", "2026-03-01T09:30:00.5", "2026-03-01T09:30:00ZZ",
		"2026-03-01T24:00:00Z", "2026-03-01T09:60:00Z", "2026-03-01T09:30:61Z", "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z",
		"2026-03-00T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-12-32T00:00:00Z",
		"2026-03-01T09:30:00+24:00", "2026-03-01T09:30:00+01:60", "2026-03-01T09:30:00+0100", "2026-03-01T09:30:00+01", "2026-03-01T09:30:00+1:00",
		"2026-03-01T09:30:00-24:00", "2026-03-01T09:30:00 01:00", "2026-03-01T09:30:00+01:000", "2026-03-01T09:30:00\u221201:00",
		"2026-03-01T09:30:00Z ", " 2026-03-01T09:30:00Z", "2026-03-01T09:30:00Z\n", "2026-03-01T09:30:00UTC", "2026-W09-7T09:30:00Z",
		"2026-03-01T09:30:60Z", "2026-06-30T22:59:60Z", "2026-06-29T23:59:60Z", "2026-06-30T23:58:60Z", "2026-06-30T23:59:60+01:00",
		"\uff12\uff10\uff12\uff16-03-01T09:30:00Z", "2026-03-01T09:30:\x000Z", "20260301T093000Z",
	} {
		if got, err := api.ParseTime(text); !errors.Is(err, api.ErrTime) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

// FuzzParseTime compares with package time where both read a text: what differs
// is what time.Parse accepts beyond the grammar, the letter case and leap seconds.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{
		"2026-03-01T09:30:00Z", "2026-03-01t09:30:00.123456789+05:45", "1990-12-31T23:59:60Z", "2026-03-01T09:30:00,5Z",
		"2026-03-01T9:30:00Z", "2026-02-29T00:00:00Z", "2026-03-01T09:30:00+24:00", "0000-01-01T00:00:00-23:59",
	} {
		f.Add(seed)
	}
	grammar := regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := api.ParseTime(text)
		want, bad := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
		inGrammar := grammar.MatchString(text)
		leap := inGrammar && text[17:19] == "60"
		switch {
		case err == nil && !inGrammar:
			t.Fatalf("%q is %v", text, got)
		case err == nil && !leap && (bad != nil || !got.Equal(want)):
			t.Fatalf("%q is %v, and by package time %v, %v", text, got, want, bad)
		case err != nil && !leap && inGrammar && bad == nil:
			t.Fatalf("%q is refused, and by package time %v", text, want)
		}
		if _, again := api.ParseTime(api.At(got).String()); err == nil && 1 <= got.Year() && got.Year() <= 9999 && !got.IsZero() && again != nil {
			t.Fatalf("%q is written as %s", text, api.At(got))
		}
	})
}

// Written by hand, it is what the layout says.
func TestTimeIsWrittenAsTheLayoutSays(t *testing.T) {
	for range 10_000 {
		at := time.UnixMilli(rand.Int64N(253402300800000)).Add(time.Duration(rand.IntN(1e6)))
		out, _ := json.Marshal(api.At(at))
		if want := at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); string(out) != want {
			t.Fatalf("got %s, want %s", out, want)
		}
	}
}
