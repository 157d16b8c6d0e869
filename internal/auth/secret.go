package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// A digest is the SHA-256 of a secret. Secrets have 256 random bits, so it needs
// neither salt nor stretching, and only the hashes are stored.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

func (d digest) hex() string { return hex.EncodeToString(d[:]) }

// digestOfHex reads what hex wrote. What is none becomes a digest that no secret
// has.
func digestOfHex(text string) (d digest) {
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == len(d) {
		copy(d[:], raw)
	}
	return d
}

// matches compares in constant time with a digest in hex; it takes as long for
// "", which matches nothing.
func (d digest) matches(stored string) bool {
	other := digestOfHex(stored)
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}

// tokenPrefix lets scanners for leaked secrets find our tokens.
const tokenPrefix = "pl_"

const (
	secretLen = 43 // 32 bytes of base64url
	tokenLen  = len(tokenPrefix) + secretLen
)

// newSecret is 256 random bits in base64url, not beginning with "-".
func newSecret() string {
	for {
		var raw [32]byte
		rand.Read(raw[:]) // it never fails: the process would end
		if text := base64.RawURLEncoding.EncodeToString(raw[:]); text[0] != '-' {
			return text
		}
	}
}

func newToken() string { return tokenPrefix + newSecret() }

// tokenDigest is the digest of a token, false for what cannot be one. It does
// not allocate.
func tokenDigest(token string) (digest, bool) {
	if len(token) != tokenLen || token[:len(tokenPrefix)] != tokenPrefix {
		return digest{}, false
	}
	var text [tokenLen]byte
	copy(text[:], token)
	return sha256.Sum256(text[:]), true
}
