package auth

import (
	"fmt"
	"testing"
	"time"
)

func TestDigestMatches(t *testing.T) {
	d := digestOf("secret")
	for stored, want := range map[string]bool{
		d.hex():                  true,
		"":                       false,
		d.hex()[:62]:             false,
		d.hex() + "00":           false,
		"x" + d.hex()[1:]:        false,
		digestOf("Secret").hex(): false,
		fmt.Sprintf("%064d", 0):  false,
		fmt.Sprintf("%X", d[:]):  true,
	} {
		if got := d.matches(stored); got != want {
			t.Errorf("matches(%q) = %v, want %v", stored, got, want)
		}
	}
	if (digest{}).matches(d.hex()) {
		t.Error("the zero digest matches")
	}
}

// TestRefusalsAreSeparate: refusals, however many, do not evict principals from the
// cache, and a refusal replaces the token's principal.
func TestRefusalsAreSeparate(t *testing.T) {
	c := newTokenCache()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	put := func(d digest, p *Principal, err error) {
		a := c.known.Begin(d, now)
		a.Value.principal, a.Value.err = p, err
		c.put(a)
	}
	known := digest{8: 1}
	put(known, &Principal{}, nil)
	for i := range 2 * refusedSlots {
		put(digest{8: 2, 9: byte(i), 10: byte(i >> 8)}, nil, ErrInvalidToken)
	}
	if a := c.get(&known, now); a == nil || a.Value.principal == nil {
		t.Error("refusals evicted a principal")
	}
	put(known, nil, ErrInvalidToken)
	if a := c.get(&known, now); a == nil || a.Value.principal != nil {
		t.Errorf("after a refusal: %+v", a)
	}
	c.invalidate(&known)
	if a := c.get(&known, now); a != nil {
		t.Errorf("after a change: %+v", a)
	}
}

// WithoutDigest returns p without the digest of its token, for comparison.
func (p *Principal) WithoutDigest() Principal {
	plain := *p
	plain.digest = digest{}
	return plain
}
