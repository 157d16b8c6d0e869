package api_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
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
		var refused *json.UnmarshalTypeError
		if err := json.Unmarshal([]byte(in), &got); !errors.As(err, &refused) {
			t.Errorf("%s: got %v and error %v, want an UnmarshalTypeError", in, got, err)
		}
	}
	if text := api.At(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600))).String(); text != "2026-01-02T02:04:05.006Z" {
		t.Error(text)
	}
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
