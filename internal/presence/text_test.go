package presence_test

import (
	"errors"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/presence"
)

// FuzzText: normalized text is stable when normalized again, and is part of the input.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", " a ", "\u200b", "a\u202eb", "\u3164", "\ufffe", "\xff", "👩\u200d💻"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kept, err := Text("note", text)
		wrong := new(FieldError)
		if err != nil && (!errors.As(err, &wrong) || wrong.Field != "note" || text == "") {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err2 := Text("note", kept); err == nil && (err2 != nil || again != kept || !strings.Contains(text, kept)) {
			t.Errorf("%q is normalized to %q, and that to %q, %v", text, kept, again, err2)
		}
	})
}
