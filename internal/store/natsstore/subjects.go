package natsstore

import (
	"encoding/base32"
	"encoding/hex"
	"hash/fnv"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// subjects builds the names of the streams and subjects of one store. Below its prefix:
//
//	s.<shard>.<account>.<user>.c   record as of its newest change; the sequence is the position
//	                               of the log entry
//	s.<shard>.<account>.<user>.r   record as of the newest update without a log entry
//	s.<shard>.<account>.<user>     record in a store of layout 1: never written any more
//	x.<shard>.<account>.<user>     schedule: the servers publish the firing at its instant
//	t.<shard>.<account>.<user>     firing: the user's record may be due
//	d.<account>.<collection>.<k.e.y>  document
//	f.lease                        lease of the nodes that serve the store, or of a process that uses it alone
//	f.<digest>                     positions of readers, written by older versions: not read
//	m                              identity of the store
//	c                              probe of Check, and filler of Import
//	b.<topic>                      messages between nodes, in no stream: see Broadcast
//	r.<shard>.<account>.<user>     s.<…>.c republished, for other subscribers
//
// The newest of the messages of a user is the record. Every write of one names the wildcard
// over both subjects in its condition: see expectNewest.
//
// Ids are encoded, since ".", "*" and ">" are special in a subject. Each character of a
// document's key is a token, so that a filter can select keys by prefix: see List.
type subjects struct {
	prefix string
	// hasLayout1 says that the store has records of layout 1, or had some once.
	hasLayout1 bool
	// isOld says that the store still has layout 1. Only a migration reads such a store.
	isOld bool
}

func (n subjects) stateStream() string   { return n.prefix + "-state" }
func (n subjects) historyStream() string { return n.prefix + "-history" }
func (n subjects) dueConsumer() string   { return n.prefix + "-due" } // the durable consumer of firings

func (n subjects) subject(kind string) string { return n.prefix + "." + kind }

func (n subjects) records() string  { return n.subject("s.>") } // of both layouts
func (n subjects) changes() string  { return n.subject("s.*.*.*.c") }
func (n subjects) silent() string   { return n.subject("s.*.*.*.r") }
func (n subjects) layout1() string  { return n.subject("s.*.*.*") }
func (n subjects) identity() string { return n.subject("m") }
func (n subjects) probe() string    { return n.subject("c") }
func (n subjects) docs() string     { return n.subject("d.>") }
func (n subjects) lease() string    { return n.subject("f.lease") }

func (n subjects) message(topic string) string { return n.subject("b.") + topic }

// base begins the subjects of a user's record, and is that of layout 1.
func (n subjects) base(u store.User) string     { return n.user("s", u) }
func (n subjects) change(u store.User) string   { return n.base(u) + ".c" }
func (n subjects) refresh(u store.User) string  { return n.base(u) + ".r" }
func (n subjects) both(u store.User) string     { return n.base(u) + ".*" }
func (n subjects) schedule(u store.User) string { return n.user("x", u) }
func (n subjects) firing(u store.User) string   { return n.user("t", u) }

func (n subjects) user(kind string, u store.User) string {
	return strings.Join([]string{n.prefix, kind, shard(u), encode(u.Account), encode(u.ID)}, ".")
}

// copied are the records that the servers still copy to the history.
func (n subjects) copied() string {
	if n.isOld {
		return n.records()
	}
	return n.changes()
}

// listed match the subjects of which every user has one: the first update is logged.
func (n subjects) listed() []string {
	if n.hasLayout1 {
		return []string{n.changes(), n.layout1()}
	}
	return []string{n.changes()}
}

// all are the subjects at which the newest message is the record of u.
func (n subjects) all(u store.User) []string {
	if n.hasLayout1 {
		return []string{n.change(u), n.refresh(u), n.base(u)}
	}
	return []string{n.change(u), n.refresh(u)}
}

// logged are the subjects of u whose messages are in the history.
func (n subjects) logged(u store.User) []string {
	if n.hasLayout1 {
		return []string{n.change(u), n.base(u)}
	}
	return []string{n.change(u)}
}

// newestOf gives the newest of the messages of u among those read from subjects.
func (n subjects) newestOf(u store.User, present map[string]storedMsg) (newest storedMsg, ok bool) {
	for _, subject := range n.all(u) {
		if m, found := present[subject]; found && m.seq > newest.seq {
			newest, ok = m, true
		}
	}
	return newest, ok
}

const layout1Tokens = 4 // kind, shard, account and user

// parseUser decodes the user in the subject of a record, a schedule or a firing.
func (n subjects) parseUser(subject string) (store.User, bool) {
	parts := strings.Split(strings.TrimPrefix(subject, n.prefix+"."), ".")
	if len(parts) == layout1Tokens+1 && parts[0] == "s" && (parts[4] == "c" || parts[4] == "r") {
		parts = parts[:layout1Tokens]
	}
	if len(parts) != layout1Tokens {
		return store.User{}, false
	}
	account, validAccount := decode(parts[2])
	id, validID := decode(parts[3])
	return store.User{Account: presence.AccountID(account), ID: presence.UserID(id)}, validAccount && validID
}

// shard distributes users evenly, so that nodes can divide them.
func shard(u store.User) string {
	h := fnv.New32a()
	// Write of a hash never fails.
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

// parseDoc decodes the account and the key in the subject of a document.
func (n subjects) parseDoc(subject string) (account presence.AccountID, k store.Key, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(subject, n.subject("d.")), ".", 3)
	if len(parts) != 3 {
		return "", k, false
	}
	owner, validAccount := decode(parts[0])
	var validName, validKey bool
	k.Collection, validName = decode(parts[1])
	k.Key, validKey = decode(strings.ReplaceAll(parts[2], ".", ""))
	return presence.AccountID(owner), k, validAccount && validName && validKey
}

// alphabet is in ascending order, so that encoded ids sort like ids.
const alphabet = "0123456789abcdefghijklmnopqrstuv"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// emptyToken stands for the empty id, since a subject must not have empty tokens.
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

// splitTokens makes each character a token.
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

// parseKey decodes the key in the subject of a document below that of its collection.
func parseKey(subject, collection string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, collection+".")
	if !ok {
		return "", false
	}
	return decode(strings.ReplaceAll(rest, ".", ""))
}
