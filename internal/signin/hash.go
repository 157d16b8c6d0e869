package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"porchlight.dev/porchlight/internal/quota"
)

// Params are the costs of a hash.
type Params struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultParams are those that OWASP recommends for argon2id with little memory.
func DefaultParams() Params { return Params{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1} }

const (
	saltBytes = 16
	hashBytes = 32
	// maxWait is how long a sign-in waits for its turn to compute a hash.
	maxWait = 3 * time.Second
	// waitingEach bounds the sign-ins that wait, for each that is computed at a time: more
	// than that would wait too long.
	waitingEach = 64
)

// A hasher computes hashes of passwords, few at a time, because each takes much memory and
// time of a processor.
type hasher struct {
	params Params
	turns  *quota.Turns
	// dummy is compared with where there is no hash, so that it takes as long.
	dummy phc
}

func newHasher(p Params, atOnce int) *hasher {
	if p == (Params{}) {
		p = DefaultParams()
	}
	if atOnce < 1 {
		atOnce = max(1, runtime.GOMAXPROCS(0)/2)
	}
	h := &hasher{params: p, turns: quota.NewTurns(atOnce, waitingLimit(atOnce))}
	h.dummy = phc{Params: p, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	return h
}

// turn waits until a hash may be computed for a caller, or returns ErrBusy.
func (h *hasher) turn(ctx context.Context, who string) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if done, err = h.turns.Take(ctx, who); err != nil {
		return nil, ErrBusy
	}
	return done, nil
}

// new is the hash of a password.
func (h *hasher) new(ctx context.Context, who, password string) (string, error) {
	done, err := h.turn(ctx, who)
	if err != nil {
		return "", err
	}
	defer done()
	return h.hash(password), nil
}

func (h *hasher) hash(password string) string {
	p := phc{Params: h.params, salt: make([]byte, saltBytes)}
	rand.Read(p.salt) // it never fails: the process would end
	p.hash = p.compute(password)
	return p.String()
}

// check reports whether a password has the stored hash, "" for none, and returns another
// hash if the stored one has other parameters than new ones. Whatever is stored, it takes
// the same work.
func (h *hasher) check(ctx context.Context, who, stored, password string) (matches bool, better string, err error) {
	p, valid := parsePHC(stored)
	if !valid {
		p = h.dummy
	}
	done, err := h.turn(ctx, who)
	if err != nil {
		return false, "", err
	}
	defer done()
	matches = subtle.ConstantTimeCompare(p.compute(password), p.hash) == 1 && valid
	if matches && p.Params != h.params {
		better = h.hash(password)
	}
	return matches, better, nil
}

// A phc is a hash in the string format of the password hashing competition.
type phc struct {
	Params
	salt, hash []byte
}

// compute computes the hash. argon2 does so in eight parts, one after another, each on a
// goroutine that this one starts. Without a thread of its own, this goroutine would run
// again at once after each part, before all that waits for the processor. With one, the
// runtime switches threads, and lets short requests run between the parts.
func (p *phc) compute(password string) []byte {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return argon2.IDKey([]byte(password), p.salt, p.Passes, p.MemoryKiB, p.Lanes, hashBytes)
}

func (p *phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Passes, p.Lanes, b64.EncodeToString(p.salt), b64.EncodeToString(p.hash))
}

func parsePHC(text string) (p phc, ok bool) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Passes, &p.Lanes); err != nil || p.Passes == 0 || p.Lanes == 0 {
		return p, false
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return p, false
	}
	p.hash, err = base64.RawStdEncoding.DecodeString(parts[5])
	return p, err == nil && len(p.hash) == hashBytes
}
