package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
)

// LiveTokens bounds how many tokens of a user, and of an app for itself, are valid at a
// time, so that they cannot fill the store. A nil limit is none.
//
// At the limit, a new token replaces the oldest ones that the token endpoint issued,
// which would expire within the hour. All other tokens last until they are revoked:
// past the limit, Issue refuses new ones.
type LiveTokens struct{ User, App *quota.Limit }

// of is the limit that a token counts for, or nil.
func (l *LiveTokens) of(t *Token) *quota.Limit {
	limit := l.App
	if t.User != "" {
		limit = l.User
	}
	if limit == nil || limit.Most == 0 {
		return nil
	}
	return limit
}

// An issuance is the state of Issue between calls.
type issuance struct {
	// making is locked while a user's token is made, so that concurrent requests of
	// one user are counted one after another.
	making [64]sync.Mutex

	mu sync.Mutex
	// spare is how many more tokens an app may get before they are counted again,
	// because a count reads all of them.
	spare map[presence.AppID]int // guarded by mu
}

// maxSpare bounds the number of apps in spare.
const maxSpare = 10_000

func (i *issuance) takeSpare(app presence.AppID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.spare[app] <= 0 {
		return false
	}
	i.spare[app]--
	return true
}

func (i *issuance) setSpare(app presence.AppID, n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.spare == nil || len(i.spare) >= maxSpare {
		i.spare = make(map[presence.AppID]int)
	}
	i.spare[app] = n
}

// admitToken makes sure that t may be made. The caller calls done afterwards.
func (a *Authority) admitToken(ctx context.Context, account presence.AccountID, t *Token) (done func(), err error) {
	limit := a.Live.of(t)
	switch {
	case limit == nil:
		return func() {}, nil
	case t.User == "":
		return func() {}, a.admitAppToken(ctx, account, t, limit)
	}
	making := &a.issued.making[ownerHash(t)[0]%64]
	making.Lock()
	live, err := a.liveTokens(ctx, account, t)
	if err == nil && t.Family != "" {
		live, err = a.trimFamily(ctx, account, live, t.Family, familyTokens-1)
	}
	if err == nil && t.SignIn {
		live, err = a.makeRoom(ctx, account, live, limit.Most)
	}
	if err == nil && len(live) >= limit.Most {
		err = limit.Reached(0)
	}
	if err != nil {
		making.Unlock()
		return nil, err
	}
	return making.Unlock, nil
}

func (a *Authority) admitAppToken(ctx context.Context, account presence.AccountID, t *Token, limit *quota.Limit) error {
	if a.issued.takeSpare(t.App) {
		return nil
	}
	live, err := a.liveTokens(ctx, account, t)
	if err != nil {
		return err
	}
	if over := len(live) - limit.Most + 1; over > 0 {
		ended, err := a.revokeOldest(ctx, account, live, max(over, limit.Most/10))
		if err != nil {
			return err
		}
		if ended < over {
			return limit.Reached(0)
		}
		a.issued.setSpare(t.App, ended-over)
		return nil
	}
	a.issued.setSpare(t.App, limit.Most-len(live)-1)
	return nil
}

// A liveToken is a token with its document.
type liveToken struct {
	Token

	digest string
	doc    store.Doc
}

// livePage is how many documents are read at a time.
const livePage = 1000

// liveTokens reads the valid tokens of the owner of t.
func (a *Authority) liveTokens(ctx context.Context, account presence.AccountID, t *Token) ([]liveToken, error) {
	prefix := ownerPrefix(t)
	var live []liveToken
	for after := prefix; ; {
		docs, err := a.docs.List(ctx, account, "token", after, livePage)
		if err != nil {
			return nil, fmt.Errorf("count tokens: %w", err)
		}
		for i := range docs {
			if after = docs[i].Key.Key; !strings.HasPrefix(after, prefix) {
				return live, nil
			}
			found, digest, err := a.tokenOf(&docs[i])
			if err != nil {
				return nil, err
			}
			if found.User == t.User && (t.User != "" || found.App == t.App) {
				live = append(live, liveToken{found, digest, docs[i]})
			}
		}
		if len(docs) < livePage {
			return live, nil
		}
	}
}

// revokeOldest ends up to n of the tokens that the token endpoint issued, and returns
// how many it ended.
func (a *Authority) revokeOldest(ctx context.Context, account presence.AccountID, live []liveToken, n int) (ended int, err error) {
	live = slices.DeleteFunc(live, func(t liveToken) bool { return !t.Granted })
	slices.SortFunc(live, func(x, y liveToken) int { return x.Created.Compare(y.Created) })
	live = live[:min(n, len(live))]
	for batch := range slices.Chunk(live, store.MaxWrite) {
		docs := make([]store.Doc, 0, len(batch))
		for i := range batch {
			docs = append(docs, batch[i].doc)
		}
		err := document.Again(func() error { return a.removeRemaining(ctx, account, docs) })
		if err != nil {
			return ended, fmt.Errorf("end the oldest tokens of an app: %w", err)
		}
		ended += len(batch)
	}
	return ended, nil
}

// familyTokens is how many access tokens of a family are valid at a time. A client that
// refreshes too often must not use up the person's limit.
const familyTokens = 5

// trimFamily ends the tokens of a family except the newest ones, and returns the others.
func (a *Authority) trimFamily(ctx context.Context, account presence.AccountID, live []liveToken, family string, keep int) ([]liveToken, error) {
	slices.SortFunc(live, func(x, y liveToken) int { return y.Created.Compare(x.Created) })
	var left []liveToken
	var ended []store.Doc
	for i := range live {
		if live[i].Family == family {
			if keep--; keep < 0 {
				ended = append(ended, live[i].doc)
				continue
			}
		}
		left = append(left, live[i])
	}
	for batch := range slices.Chunk(ended, store.MaxWrite) {
		if err := document.Again(func() error { return a.removeRemaining(ctx, account, batch) }); err != nil {
			return nil, fmt.Errorf("end older tokens: %w", err)
		}
	}
	return left, nil
}

// removeRemaining removes the documents that still exist.
func (a *Authority) removeRemaining(ctx context.Context, account presence.AccountID, docs []store.Doc) error {
	keys := make([]store.Key, 0, len(docs))
	for i := range docs {
		keys = append(keys, docs[i].Key)
	}
	now, err := a.docs.Load(ctx, account, keys...)
	if err != nil {
		return err
	}
	return a.remove(ctx, account, now)
}

const (
	ownerBytes = 6 // 8 characters
	tokenBytes = 16
	dash       = 62 // the value of "-"
)

// newTokenID is an id like those of directory.NewID, except that all ids of one owner
// have the same prefix, so that they are adjacent in the list and can be counted.
func newTokenID(t *Token) string {
	var raw [tokenBytes]byte
	rand.Read(raw[ownerBytes:]) // it never fails: the process would end
	return ownerPrefix(t) + base64.RawURLEncoding.EncodeToString(raw[ownerBytes:])
}

// ownerPrefix is the prefix of the ids of an owner's tokens. Another owner may have the
// same one.
func ownerPrefix(t *Token) string {
	hash := ownerHash(t)
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// ownerHash is a short hash of the token's owner that never makes an id begin with "-".
func ownerHash(t *Token) (hash [ownerBytes]byte) {
	owner := "user " + string(t.User)
	if t.User == "" {
		owner = "app " + string(t.App)
	}
	for i := 0; ; i++ {
		sum := sha256.Sum256([]byte(strconv.Itoa(i) + " " + owner))
		if copy(hash[:], sum[:]); hash[0]>>2 != dash {
			return hash
		}
	}
}
