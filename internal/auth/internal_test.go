package auth

import (
	"fmt"
	"hash/maphash"
	"slices"
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
		a := c.begin(&d, now)
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

// TestEvict: a change evicts the tokens that it covers, also those that are being read, and
// none of another account, app, user or family. Refusals are evicted by every change.
func TestEvict(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	of := Principal{Account: "one", App: "app", User: "ann", Family: "family"}
	for name, row := range map[string]struct {
		change Revocation
		evicts bool
	}{
		"account":        {Revocation{Account: "one", All: true}, true},
		"app":            {Revocation{Account: "one", App: "app"}, true},
		"user":           {Revocation{Account: "one", User: "ann"}, true},
		"family":         {Revocation{Account: "one", Family: "family"}, true},
		"token":          {Revocation{Account: "one", tokens: []digest{{8: 1}}}, true},
		"other account":  {Revocation{Account: "two", All: true}, false},
		"other app":      {Revocation{Account: "one", App: "other"}, false},
		"other user":     {Revocation{Account: "one", User: "bob"}, false},
		"user elsewhere": {Revocation{Account: "two", User: "ann"}, false},
		"other family":   {Revocation{Account: "one", Family: "other"}, false},
		"nothing":        {Revocation{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, d, refused := newTokenCache(), digest{8: 1}, digest{8: 2}
			for slots := c.invalidations.slotsOf(&of); !row.evicts && slices.Contains(slots[:], c.invalidations.slot(row.change)); slots = c.invalidations.slotsOf(&of) {
				c.invalidations.seed = maphash.MakeSeed() // they share a slot by chance
			}
			answer := func(d digest, p *Principal) *answer {
				a := c.begin(&d, now)
				if a.Value.principal = p; p == nil {
					a.Value.err = ErrInvalidToken
				}
				return a
			}
			c.put(answer(d, &of))
			c.put(answer(refused, nil))
			late := answer(d, &of)
			c.evict(&row.change)
			if evicted := c.get(&d, now) == nil; evicted != row.evicts {
				t.Errorf("evicted: %v", evicted)
			}
			c.put(late)
			if evicted := c.recent(&d, now) == nil; evicted != row.evicts {
				t.Errorf("stored late: evicted: %v", evicted)
			}
			if evicted := c.get(&refused, now) == nil; evicted != (len(row.change.tokens) == 0 && row.change.CoversAny()) {
				t.Errorf("a refusal: evicted: %v", evicted)
			}
			c.put(answer(d, &of))
			if c.get(&d, now) == nil {
				t.Error("evicted although it was read after the change")
			}
		})
	}
}

// WithoutDigest returns p without the digest of its token, for comparison.
func (p *Principal) WithoutDigest() Principal {
	plain := *p
	plain.digest = digest{}
	return plain
}
