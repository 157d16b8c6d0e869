package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var docTests = []namedTest{
	{"Versions", docVersions},
	{"Uniqueness", docUniqueness},
	{"AllOrNothing", docsAllOrNothing},
	{"AtomicReads", docsReadAtomically},
	{"Expiry", docExpiry},
	{"ListPages", docPages},
	{"Collections", docCollections},
	{"HostileKeys", docHostileKeys},
	{"ValuesAreCopies", docValuesAreCopies},
}

const acme = presence.AccountID("acme")

func key(collection, key string) store.Key { return store.Key{Collection: collection, Key: key} }

func doc(collection, k, value string) store.Doc {
	return store.Doc{Key: key(collection, k), Value: []byte(value)}
}

func (x *suite) write(account presence.AccountID, docs ...store.Doc) {
	x.Helper()
	if err := x.Store.Write(x.ctx, account, docs...); err != nil {
		x.Fatalf("Write: %v", err)
	}
}

func (x *suite) load(account presence.AccountID, keys ...store.Key) []store.Doc {
	x.Helper()
	docs, err := x.Store.Load(x.ctx, account, keys...)
	if err != nil {
		x.Fatalf("Load: %v", err)
	}
	return docs
}

func (x *suite) loadOne(k store.Key) store.Doc {
	x.Helper()
	docs := x.load(acme, k)
	if len(docs) != 1 {
		x.Fatalf("Load of %v gave %d documents", k, len(docs))
	}
	return docs[0]
}

func (x *suite) wantConflict(docs ...store.Doc) {
	x.Helper()
	if err := x.Store.Write(x.ctx, acme, docs...); !errors.Is(err, store.ErrConflict) {
		x.Errorf("Write of %+v: %v, want ErrConflict", docs, err)
	}
}

func docVersions(x *suite) {
	x.write(acme, doc("c", "k", "one"))
	x.wantConflict(doc("c", "k", "two")) // it exists
	first := x.loadOne(key("c", "k"))
	if string(first.Value) != "one" || first.Version == "" || !first.Until.IsZero() {
		x.Errorf("Load gave %+v", first)
	}
	change := func(version, value string) store.Doc {
		d := doc("c", "k", value)
		d.Version = version
		return d
	}
	x.write(acme, change(first.Version, "two"))
	x.wantConflict(change(first.Version, "three"))
	x.wantConflict(change("nonsense", "three"))
	second := x.loadOne(key("c", "k"))
	if string(second.Value) != "two" || second.Version == first.Version {
		x.Errorf("Load gave %+v after %+v", second, first)
	}
	remove := store.Doc{Key: key("c", "k"), Version: first.Version}
	x.wantConflict(remove)
	remove.Version = second.Version
	x.write(acme, remove)
	if docs := x.load(acme, key("c", "k")); len(docs) != 0 {
		x.Errorf("a deleted document was loaded: %+v", docs)
	}
	x.wantConflict(change(second.Version, "three"))
	x.write(acme, change("", ""))
	third := x.loadOne(key("c", "k"))
	if third.Value == nil || len(third.Value) != 0 || third.Version == second.Version || third.Version == first.Version {
		x.Errorf("recreated, it is %+v: an empty value must not be nil, and no version may repeat", third)
	}
}

// docUniqueness: one of many concurrent writers gets a unique key, together with its
// other document.
func docUniqueness(x *suite) {
	var winners atomic.Int32
	var group sync.WaitGroup
	for i := range x.Callers {
		group.Go(func() {
			owner := fmt.Sprint("user", i)
			err := x.Store.Write(x.ctx, acme, doc("user", owner, "a@example.org"), doc("email", "a@example.org", owner))
			switch {
			case err == nil:
				winners.Add(1)
			case !errors.Is(err, store.ErrConflict):
				x.Errorf("Write: %v", err)
			}
		})
	}
	group.Wait()
	if winners.Load() != 1 {
		x.Errorf("%d owners of one address", winners.Load())
	}
	owners, err := x.Store.List(x.ctx, acme, "user", "", 100)
	if err != nil || len(owners) != 1 || string(x.loadOne(key("email", "a@example.org")).Value) != owners[0].Key.Key {
		x.Errorf("the owners are %+v, %v", owners, err)
	}
}

func docsAllOrNothing(x *suite) {
	many := make([]store.Doc, store.MaxWrite)
	for i := range many {
		many[i] = doc("c", fmt.Sprintf("k%03d", i), "v")
	}
	x.write(acme, many[50])
	x.wantConflict(many...)
	if docs, err := x.Store.List(x.ctx, acme, "c", "", 1000); err != nil || len(docs) != 1 {
		x.Errorf("a refused write left %d documents, %v", len(docs), err)
	}
	many[50].Version = x.loadOne(many[50].Key).Version
	x.write(acme, many...)
	if docs, err := x.Store.List(x.ctx, acme, "c", "", 1000); err != nil || len(docs) != len(many) {
		x.Errorf("%d documents, %v; want %d", len(docs), err, len(many))
	}
}

// docsReadAtomically: two documents that change together are read in the same
// version, and a read includes every acknowledged change.
func docsReadAtomically(x *suite) {
	const rounds = 50
	pair := func(n int, a, b string) []store.Doc {
		da, db := doc("c", "a", fmt.Sprint(n)), doc("c", "b", fmt.Sprint(n))
		da.Version, db.Version = a, b
		return []store.Doc{da, db}
	}
	x.write(acme, pair(0, "", "")...)
	var acknowledged atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= rounds; n++ {
			now, err := x.Store.Load(x.ctx, acme, key("c", "a"), key("c", "b"))
			if err != nil || len(now) != 2 {
				x.Errorf("Load: %+v, %v", now, err)
				return
			}
			if err := x.Store.Write(x.ctx, acme, pair(n, now[0].Version, now[1].Version)...); err != nil {
				x.Errorf("Write: %v", err)
				return
			}
			acknowledged.Store(int64(n))
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		least := acknowledged.Load()
		docs, err := x.Store.List(x.ctx, acme, "c", "", 10)
		if err != nil || len(docs) != 2 {
			x.Fatalf("List: %+v, %v", docs, err)
		}
		var n int64
		if _, err := fmt.Sscan(string(docs[0].Value), &n); err != nil || n < least {
			x.Fatalf("List gave %s, and %d was acknowledged", docs[0].Value, least)
		}
	}
	if acknowledged.Load() != rounds {
		x.Errorf("%d of %d rounds were written", acknowledged.Load(), rounds)
	}
}

func docExpiry(x *suite) {
	until := instant(max(2*time.Second, 10*x.Ahead)) // what follows takes less time
	short, long := doc("c", "short", "v"), doc("c", "long", "v")
	short.Until, long.Until = until, until.Add(time.Hour)
	x.write(acme, short, long)
	if d := x.loadOne(short.Key); !d.Until.Equal(until) {
		x.Errorf("the expiry is %v, want %v", d.Until, until)
	}
	x.wantConflict(doc("c", "short", "again"))
	x.pause(until.Add(1100 * time.Millisecond)) // a backend may count in seconds
	if docs := x.load(acme, short.Key, long.Key); len(docs) != 1 || docs[0].Key != long.Key {
		x.Errorf("after its expiry Load gave %+v", docs)
	}
	if docs, err := x.Store.List(x.ctx, acme, "c", "", 10); err != nil || len(docs) != 1 || docs[0].Key != long.Key {
		x.Errorf("after its expiry List gave %+v, %v", docs, err)
	}
	x.write(acme, doc("c", "short", "recreated"))
	x.pause(time.Now().Add(2 * time.Minute / time.Duration(x.waitDivisor())))
	if d := x.loadOne(short.Key); string(d.Value) != "recreated" || !d.Until.IsZero() {
		x.Errorf("a document recreated after an expired one is %+v", d)
	}
	// A document without an expiry any more does not expire.
	d := x.loadOne(long.Key)
	d.Until = time.Time{}
	x.write(acme, d)
	if d := x.loadOne(long.Key); !d.Until.IsZero() {
		x.Errorf("the expiry is still %v", d.Until)
	}
}

// waitDivisor shortens waits outside a bubble, where they take real time.
func (x *suite) waitDivisor() int {
	if x.Bubble {
		return 1
	}
	return 60
}

func docPages(x *suite) {
	want := []string{"\x00", "\x01\xff", "A", "B", "a", "a\x00", "aa", "ab", "b", "é", "\xff", "\xff\xff"}
	for _, k := range want {
		x.write(acme, doc("c", k, k))
	}
	x.write(acme, doc("d", "m", "other collection"), doc("", "m", "no collection"), doc("cc", "m", "longer"))
	x.write("acme2", doc("c", "m", "other account"))
	for _, limit := range []int{1, 2, 5, 100} {
		var got []string
		for after := ""; ; {
			page, err := x.Store.List(x.ctx, acme, "c", after, limit)
			if err != nil || len(page) > limit {
				x.Fatalf("List after %q: %d documents of at most %d, %v", after, len(page), limit, err)
			}
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				if string(d.Value) != d.Key.Key || d.Collection != "c" {
					x.Errorf("List gave %+v", d)
				}
				got = append(got, d.Key.Key)
			}
			after = page[len(page)-1].Key.Key
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			x.Errorf("in pages of %d: %q, want %q", limit, got, want)
		}
	}
	if page, err := x.Store.List(x.ctx, acme, "c", "aaa", 1); err != nil || len(page) != 1 || page[0].Key.Key != "ab" {
		x.Errorf("List after a missing key gave %+v, %v", page, err)
	}
	if page, err := x.Store.List(x.ctx, acme, "none", "", 10); err != nil || len(page) != 0 {
		x.Errorf("List of an empty collection gave %+v, %v", page, err)
	}
}

// docCollections: Collections names each collection of the account, and no other.
func docCollections(x *suite) {
	want := []string{"", "\x00", "a", "a.b", "a/b", "aa", "b", "\xff"}
	for i, name := range want {
		for n := range 3 * i {
			x.write(acme, doc(name, fmt.Sprint(n), "value"))
		}
		x.write(acme, doc(name, "key", "value"))
	}
	for _, other := range []presence.AccountID{"", "acme2", "a"} {
		x.write(other, doc("other", "key", "value"))
	}
	got, err := x.Store.Collections(x.ctx, acme)
	if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		x.Errorf("Collections gave %q, %v; want %q", got, err, want)
	}
	if got, err := x.Store.Collections(x.ctx, "nobody"); err != nil || len(got) != 0 {
		x.Errorf("Collections of an account without documents gave %q, %v", got, err)
	}
	d := x.loadOne(key("a", "key"))
	x.write(acme, store.Doc{Key: d.Key, Version: d.Version})
	if got, err := x.Store.Collections(x.ctx, acme); err != nil || !slices.Contains(got, "a") || len(got) < len(want)-1 {
		x.Errorf("after a deletion, Collections gave %q, %v", got, err)
	}
}

// docHostileKeys: accounts and collections are isolated, whatever their names.
func docHostileKeys(x *suite) {
	texts := []string{"a", "a/b", "a.b", "*", ">", "\x00", "\x00a", "a\x00", "\x01a", "\xff", "aa"}
	name := func(account, collection, k string) string { return fmt.Sprintf("%q %q %q", account, collection, k) }
	for _, account := range texts {
		for _, collection := range texts {
			docs := make([]store.Doc, len(texts))
			for i, k := range texts {
				docs[i] = doc(collection, k, name(account, collection, k))
			}
			x.write(presence.AccountID(account), docs...)
		}
	}
	for _, account := range texts {
		for _, collection := range texts {
			docs, err := x.Store.List(x.ctx, presence.AccountID(account), collection, "", 1000)
			if err != nil || len(docs) != len(texts) {
				x.Fatalf("account %q collection %q has %d documents, %v", account, collection, len(docs), err)
			}
			for _, d := range docs {
				if string(d.Value) != name(account, collection, d.Key.Key) {
					x.Errorf("%s has the document of %s", name(account, collection, d.Key.Key), d.Value)
				}
			}
		}
	}
}

func docValuesAreCopies(x *suite) {
	value := []byte("value")
	x.write(acme, store.Doc{Key: key("c", "k"), Value: value})
	copy(value, "other")
	loaded := x.loadOne(key("c", "k"))
	if !bytes.Equal(loaded.Value, []byte("value")) {
		x.Errorf("the store kept the caller's bytes: %s", loaded.Value)
	}
	copy(loaded.Value, "YYYYY")
	if d := x.loadOne(key("c", "k")); string(d.Value) != "value" {
		x.Errorf("Load returned the store's own bytes: %s", d.Value)
	}
}
