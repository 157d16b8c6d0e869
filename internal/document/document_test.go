package document_test

import (
	"errors"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

type value struct {
	document.Format

	Name string `json:"name"`
}

func TestRoundTrip(t *testing.T) {
	doc := document.New(store.Key{Collection: "c", Key: "secret-key"}, "7", value{document.Current(), "n"})
	if doc.Version != "7" || string(doc.Value) != `{"v":1,"name":"n"}` {
		t.Fatalf("%s %s", doc.Version, doc.Value)
	}
	var v value
	if err := document.Decode(&doc, &v); err != nil || v.Name != "n" {
		t.Fatalf("%+v, %v", v, err)
	}
	if gone := document.Deletion(&doc); gone.Value != nil || gone.Version != "7" || gone.Key != doc.Key {
		t.Errorf("%+v", gone)
	}
}

// A newer format is refused, not misread, and no error names the key.
func TestDecodeRefuses(t *testing.T) {
	for _, text := range []string{`{"v":2,"name":"n"}`, `{"name":"n"}`, `{`, ``} {
		doc := store.Doc{Key: store.Key{Collection: "c", Key: "secret-key"}, Value: []byte(text)}
		err := document.Decode(&doc, new(value))
		if err == nil || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAgain(t *testing.T) {
	tries := 0
	err := document.Again(func() error {
		if tries++; tries < 3 {
			return store.ErrConflict
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	tries = 0
	if err := document.Again(func() error { tries++; return store.ErrConflict }); !errors.Is(err, store.ErrConflict) || tries != document.Attempts {
		t.Errorf("%d tries, %v", tries, err)
	}
}
