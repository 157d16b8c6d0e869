package seal_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

func TestSeal(t *testing.T) {
	st := enginetest.Open(t, time.Now)
	first, second := &seal.Sealer{Store: st}, &seal.Sealer{Store: st} // of two nodes
	sealed, err := first.Seal(t.Context(), "a purpose", []byte("secret text"))
	if err != nil || bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("%q, %v", sealed, err)
	}
	if plain, err := second.Open(t.Context(), "a purpose", sealed); err != nil || string(plain) != "secret text" {
		t.Errorf("%q, %v", plain, err)
	}
	if again, err := first.Seal(t.Context(), "a purpose", []byte("secret text")); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same text is sealed to the same bytes: %v", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := first.Open(t.Context(), "a purpose", changed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("byte %d was changed: %v", i, err)
		}
	}
	for purpose, text := range map[string][]byte{"another purpose": sealed, "a purpose": sealed[:5], "": nil} {
		if _, err := first.Open(t.Context(), purpose, text); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%q: %v", purpose, err)
		}
	}
	other := &seal.Sealer{Store: enginetest.Open(t, time.Now)}
	if _, err := other.Open(t.Context(), "a purpose", sealed); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another store: %v", err)
	}
}
