package pebblestore

import (
	"encoding/binary"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// The first byte of a key is its kind. An id is preceded by its length wherever
// something follows, so no id can collide with another's keys.
//
//	r <account> user                  record
//	l position                        log entry
//	x instant <account> user          expiry index: one for each armed record
//	d <account> <collection> key      document
//	e instant <account> <coll> key    expiry index of documents
//	k name                            position of a consumer, in older versions
//	m name                            metadata
const (
	recordPrefix    = 'r'
	logPrefix       = 'l'
	expiryPrefix    = 'x'
	documentPrefix  = 'd'
	docExpiryPrefix = 'e'
	readerPrefix    = 'k'
	metaPrefix      = 'm'
)

// The keys of metadata.
const (
	metaFormat = "mformat" // of keys and values
	metaEpoch  = "mepoch"
	metaState  = "mstate" // one of the states below
	metaSeq    = "mseq"   // the last sequence number assigned
	metaTrim   = "mtrim"  // log entries up to here were dropped
)

// The states of a store: how it was closed, or that it is open.
const (
	stateClean     = "clean"
	stateOpenFsync = "open fsync"
	stateOpenOS    = "open os"
)

func appendID[T ~string](dst []byte, id T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(id)))
	return append(dst, id...)
}

// cutID is the inverse of appendID.
func cutID(key []byte) (id string, rest []byte, ok bool) {
	n, size := binary.Uvarint(key)
	if size <= 0 || n > uint64(len(key)-size) {
		return "", nil, false
	}
	return string(key[size : size+int(n)]), key[size+int(n):], true
}

func appendUser(dst []byte, u store.User) []byte {
	return append(appendID(dst, u.Account), u.ID...)
}

func cutUser(key []byte) (store.User, bool) {
	account, id, ok := cutID(key)
	return store.User{Account: presence.AccountID(account), ID: presence.UserID(id)}, ok
}

func appendRecordKey(dst []byte, u store.User) []byte {
	return appendUser(append(dst, recordPrefix), u)
}

func appendLogKey(dst []byte, at store.Position) []byte {
	return binary.BigEndian.AppendUint64(append(dst, logPrefix), uint64(at))
}

func cutLogKey(key []byte) (store.Position, bool) {
	if len(key) != 9 || key[0] != logPrefix {
		return 0, false
	}
	return store.Position(binary.BigEndian.Uint64(key[1:])), true
}

// appendInstantKey preserves the order of instants, negative ones included.
func appendInstantKey(dst []byte, prefix byte, at presence.Instant) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefix), uint64(at)^1<<63)
}

func cutInstantKey(key []byte, prefix byte) (presence.Instant, []byte, bool) {
	if len(key) < 9 || key[0] != prefix {
		return 0, nil, false
	}
	return presence.Instant(binary.BigEndian.Uint64(key[1:9]) ^ 1<<63), key[9:], true
}

func appendExpiryKey(dst []byte, at presence.Instant, u store.User) []byte {
	return appendUser(appendInstantKey(dst, expiryPrefix, at), u)
}

func cutExpiryKey(key []byte) (presence.Instant, store.User, bool) {
	at, rest, ok := cutInstantKey(key, expiryPrefix)
	if !ok {
		return 0, store.User{}, false
	}
	u, ok := cutUser(rest)
	return at, u, ok
}

// appendCollection appends the prefix of the keys of a collection.
func appendCollection(dst []byte, account presence.AccountID, collection string) []byte {
	return appendID(appendID(append(dst, documentPrefix), account), collection)
}

func appendDocKey(dst []byte, account presence.AccountID, k store.Key) []byte {
	return append(appendCollection(dst, account, k.Collection), k.Key...)
}

// appendDocExpiryKey appends the expiry index's key of a document.
func appendDocExpiryKey(dst []byte, at presence.Instant, docKey []byte) []byte {
	return append(appendInstantKey(dst, docExpiryPrefix, at), docKey[1:]...)
}

// cutDocExpiryKey gives the instant and the document's key.
func cutDocExpiryKey(key []byte) (presence.Instant, []byte, bool) {
	at, rest, ok := cutInstantKey(key, docExpiryPrefix)
	if !ok {
		return 0, nil, false
	}
	return at, append([]byte{documentPrefix}, rest...), true
}
