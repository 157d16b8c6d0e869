package zoomapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

// A next_page_token is where a listing continues: the token's expiry, a checksum, and the
// id of the last user, as base64url. The checksum binds it to the account and to the
// query. It needs no secret, and so works on every node: with an invented token a client
// sees only what its access token allows.

// pageTokenLasts is Zoom's validity of page tokens.
const pageTokenLasts = 15 * time.Minute

var errPageToken = errors.New("the next page token is invalid or expired")

const pageTokenHead = 8 + 8

// pageToken is the token for the users above after; "" after the last page.
func (a *API) pageToken(p *auth.Principal, bound string, after presence.UserID) string {
	if after == "" {
		return ""
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, pageTokenHead+len(after)), uint64(a.Clock().Add(pageTokenLasts).Unix()))
	raw = append(raw, pageSum(p, bound, raw, after)...)
	return base64.RawURLEncoding.EncodeToString(append(raw, after...))
}

// parsePageToken returns the user after whom the token continues; "" for no token.
func (a *API) parsePageToken(p *auth.Principal, bound, token string) (presence.UserID, error) {
	if token == "" {
		return "", nil
	}
	if len(token) > base64.RawURLEncoding.EncodedLen(pageTokenHead+presence.MaxIDBytes) {
		return "", errPageToken
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= pageTokenHead {
		return "", errPageToken
	}
	after := presence.UserID(raw[pageTokenHead:])
	if string(pageSum(p, bound, raw[:8], after)) != string(raw[8:pageTokenHead]) {
		return "", errPageToken
	}
	if expires := int64(binary.BigEndian.Uint64(raw)); a.Clock().Unix() >= expires {
		return "", errPageToken
	}
	return after, nil
}

func pageSum(p *auth.Principal, bound string, expires []byte, after presence.UserID) []byte {
	h := sha256.New()
	for _, part := range [...]string{string(p.Account), bound, string(expires), string(after)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash never fails
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:8]
}
