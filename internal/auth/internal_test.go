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

// A full set of places gives up its oldest answer, and no flood of refusals
// touches a principal.
func TestCacheIsBounded(t *testing.T) {
	c := new(tokenCache)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	known := digest{8: 1}
	c.put(&answer{digest: known, principal: &Principal{}, read: now})
	for i := range 100 {
		c.put(&answer{digest: digest{8: 2, 9: byte(i)}, err: ErrInvalidToken, read: now})
	}
	if c.get(&known, now) == nil {
		t.Error("refusals pushed out a principal")
	}
	for i := range cacheWays {
		c.put(&answer{digest: digest{8: 3, 9: byte(i)}, principal: &Principal{}, read: now.Add(time.Second)})
	}
	if c.get(&known, now) != nil {
		t.Error("the oldest of a full set is still there")
	}
	for i := range cacheWays {
		if c.get(&digest{8: 3, 9: byte(i)}, now.Add(time.Second)) == nil {
			t.Errorf("number %d is not there", i)
		}
	}
}

// WithoutDigest is p as it is told from another, less what names its token.
func (p *Principal) WithoutDigest() Principal {
	plain := *p
	plain.digest = digest{}
	return plain
}
