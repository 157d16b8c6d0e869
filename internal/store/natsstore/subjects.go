package natsstore

import (
	"encoding/base32"
	"encoding/hex"
	"hash/fnv"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// subjects gives the subjects and streams of one store. Below its prefix:
//
//	s.<shard>.<account>.<user>     record; its sequence is the entry's position
//	x.<shard>.<account>.<user>     schedule: when to publish the next one
//	t.<shard>.<account>.<user>     firing: the user's record may be due
//	d.<account>.<collection>.<k.e.y>  document
//	f.lease                        who serves the store
//	f.<digest>                     of versions that kept positions of readers: not read
//	m                              identity of the store
//	c                              written to see whether anything can be
//	r.<…>                          what s.<…> is published again as, for who listens
//
// Ids are encoded, since ".", "*" and ">" mean something in a subject. A document's
// key has one token for each character, so that a filter can name all keys that
// begin alike: see list.
type subjects struct{ prefix string }

func (n subjects) stateStream() string   { return n.prefix + "-state" }
func (n subjects) historyStream() string { return n.prefix + "-history" }
func (n subjects) dueConsumer() string   { return n.prefix + "-due" } // the consumer

func (n subjects) subject(kind string) string { return n.prefix + "." + kind }

func (n subjects) records() string  { return n.subject("s.>") }
func (n subjects) identity() string { return n.subject("m") }
func (n subjects) probe() string    { return n.subject("c") }
func (n subjects) lease() string    { return n.subject("f.lease") }

func (n subjects) state(u store.User) string    { return n.user("s", u) }
func (n subjects) schedule(u store.User) string { return n.user("x", u) }
func (n subjects) firing(u store.User) string   { return n.user("t", u) }

func (n subjects) user(kind string, u store.User) string {
	var b strings.Builder
	b.Grow(len(n.prefix) + 16 + 2*(len(u.Account)+len(u.ID)))
	b.WriteString(n.prefix)
	b.WriteByte('.')
	b.WriteString(kind)
	b.WriteByte('.')
	b.WriteString(shard(u))
	b.WriteByte('.')
	b.WriteString(encode(u.Account))
	b.WriteByte('.')
	b.WriteString(encode(u.ID))
	return b.String()
}

// cutUser is the user of such a subject.
func (n subjects) parseUser(subject string) (store.User, bool) {
	parts := strings.Split(strings.TrimPrefix(subject, n.prefix+"."), ".")
	if len(parts) != 4 {
		return store.User{}, false
	}
	account, ok := decode(parts[2])
	id, ok2 := decode(parts[3])
	return store.User{Account: presence.AccountID(account), ID: presence.UserID(id)}, ok && ok2
}

// shard spreads users evenly, so that nodes can divide them among themselves.
func shard(u store.User) string {
	h := fnv.New32a()
	// A hash never fails to be written to.
	_, _ = h.Write([]byte(u.Account))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(u.ID))
	sum := h.Sum32()
	return hex.EncodeToString([]byte{byte(sum ^ sum>>8 ^ sum>>16 ^ sum>>24)})
}

func (n subjects) collection(account presence.AccountID, collection string) string {
	return n.subject("d.") + encode(account) + "." + encode(collection)
}

func (n subjects) doc(account presence.AccountID, k store.Key) string {
	return n.collection(account, k.Collection) + "." + splitTokens(encode(k.Key))
}

// alphabet has its characters in order, so that encoded ids sort as ids do.
const alphabet = "0123456789abcdefghijklmnopqrstuv"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// none stands for the empty id: a subject has no empty token.
const emptyToken = "_"

func encode[T ~string](id T) string {
	if id == "" {
		return emptyToken
	}
	return encoding.EncodeToString([]byte(id))
}

func decode(token string) (string, bool) {
	if token == emptyToken {
		return "", true
	}
	id, err := encoding.DecodeString(token)
	return string(id), err == nil && len(id) > 0
}

// spread puts each character into a token of its own.
func splitTokens(encoded string) string {
	if encoded == "" {
		return ""
	}
	out := make([]byte, 0, 2*len(encoded)-1)
	for i := range len(encoded) {
		if i > 0 {
			out = append(out, '.')
		}
		out = append(out, encoded[i])
	}
	return string(out)
}

// cutKey is the key of a document's subject, which lies below within.
func parseKey(subject, within string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, within+".")
	if !ok {
		return "", false
	}
	return decode(strings.ReplaceAll(rest, ".", ""))
}
