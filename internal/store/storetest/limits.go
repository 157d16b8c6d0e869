package storetest

import (
	"context"
	"errors"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var limitTests = []namedTest{
	{"Keys", keyLimits},
	{"Documents", docLimits},
	{"LargestRecord", largestRecord},
	{"EndedContexts", endedContexts},
	{"HealthyStore", healthyStore},
}

func (x *suite) wantTooLarge(what string, err error) {
	x.Helper()
	if !errors.Is(err, store.ErrTooLarge) {
		x.Errorf("%s: %v, want ErrTooLarge", what, err)
	}
}

func keyLimits(x *suite) {
	most, more := strings.Repeat("k", store.MaxKeyBytes), strings.Repeat("k", store.MaxKeyBytes+1)
	largest := store.User{Account: presence.AccountID(most), ID: presence.UserID(most)}
	x.outIn(largest, x.Ahead)
	fired, _ := x.runDue(clearClaims)
	if f := receive(x, fired, "the user with the longest id"); f.user != largest {
		x.Error("another user fired")
	}
	x.write(presence.AccountID(most), doc(most, most, "v"))
	for _, u := range []store.User{{Account: "a", ID: presence.UserID(more)}, {Account: presence.AccountID(more), ID: "u"}} {
		_, err := x.Store.Update(x.ctx, u, UpdateFunc(store.By{}, edit(noEdit)))
		x.wantTooLarge("Update", err)
		_, err = x.begin(u, edit(noEdit)).wait()
		x.wantTooLarge("Begin", err)
		_, _, err = x.Store.Read(x.ctx, []store.User{u}, store.Freshness{})
		x.wantTooLarge("Read", err)
	}
	for _, k := range []store.Key{key("c", more), key(more, "k")} {
		x.wantTooLarge("Write", x.Store.Write(x.ctx, acme, store.Doc{Key: k, Value: []byte("v")}))
		_, err := x.Store.Load(x.ctx, acme, k)
		x.wantTooLarge("Load", err)
	}
	x.wantTooLarge("Write", x.Store.Write(x.ctx, presence.AccountID(more), doc("c", "k", "v")))
	if err := x.Store.Write(x.ctx, acme, doc("c", "", "v")); err == nil {
		x.Error("a document without a key was written")
	}
}

func docLimits(x *suite) {
	largest := strings.Repeat("v", store.MaxDocBytes)
	x.write(acme, doc("c", "k", largest))
	if d := x.loadOne(key("c", "k")); string(d.Value) != largest {
		x.Errorf("the largest document was read with %d bytes", len(d.Value))
	}
	x.wantTooLarge("Write", x.Store.Write(x.ctx, acme, doc("c", "l", largest+"v")))
	many := make([]store.Doc, store.MaxWrite+1)
	for i := range many {
		many[i] = doc("many", strings.Repeat("k", i+1), "v")
	}
	x.wantTooLarge("Write", x.Store.Write(x.ctx, acme, many...))
	if err := x.Store.Write(x.ctx, acme, doc("c", "twice", "v"), doc("c", "twice", "w")); err == nil {
		x.Error("a write with the same document twice was accepted")
	}
	for i := range many {
		many[i].Value = []byte(largest)
	}
	x.write(acme, many[:store.MaxWrite]...)
	if docs, err := x.Store.List(x.ctx, acme, "c", "k", 10); err != nil || len(docs) != 0 {
		x.Errorf("refused documents were stored: %d, %v", len(docs), err)
	}
	x.write(acme)
}

func endedContexts(x *suite) {
	x.update(user("u"), outUntil(instant(-x.Ahead)))
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	_, _, read := x.Store.Read(ctx, users("u"), store.Freshness{})
	_, load := x.Store.Load(ctx, acme, key("c", "k"))
	_, list := x.Store.List(ctx, acme, "c", "", 1)
	for what, err := range map[string]error{
		"Read": read, "Load": load, "List": list,
		"Write": x.Store.Write(ctx, acme, doc("c", "k", "v")),
		"Feed":  x.Store.Feed(ctx, 0, func([]store.Entry) error { return nil }),
		"Due":   x.Store.Due(ctx, func([]store.User) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) {
			x.Errorf("%s with an ended context: %v", what, err)
		}
	}
}

func healthyStore(x *suite) {
	if err := x.Store.Check(x.ctx); err != nil {
		x.Errorf("Check of a healthy store: %v", err)
	}
	select {
	case <-x.Store.Failed():
		x.Error("a healthy store reports a failure")
	default:
	}
	if x.Store.Epoch() == "" {
		x.Error("the epoch is empty")
	}
}
