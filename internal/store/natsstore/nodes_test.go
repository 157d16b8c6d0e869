package natsstore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestTwoNodesDecide: a node's cache may be stale. It must neither refuse nor accept a
// change because of that.
func TestTwoNodesDecide(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	o := servers.options()
	o.Timeout = storeTimeout
	a, b := servers.open(t, o), servers.open(t, o)
	defer closeStore(t, a)
	defer closeStore(t, b)
	refusal := errors.New("the note is not the one that was written last")
	key := store.Key{Collection: "c", Key: "k"}
	version := ""
	for i := range 200 {
		text := fmt.Sprint(i)
		if _, err := a.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			s, err := touch(s)
			s.Note.Text = text
			return s, err
		})); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			if s.Note.Text != text {
				return s, refusal
			}
			return touch(s)
		})); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if err := a.Write(t.Context(), "acme", store.Doc{Key: key, Version: version, Value: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		docs, err := a.Load(t.Context(), "acme", key)
		if err != nil || len(docs) != 1 || string(docs[0].Value) != text {
			t.Fatalf("round %d: what this node wrote is read as %+v, %v", i, docs, err)
		}
		// The other node gets the version without having read the document.
		if err := b.Write(t.Context(), "acme", store.Doc{Key: key, Version: docs[0].Version, Value: []byte(text)}); err != nil {
			t.Fatalf("round %d: the other node's write: %v", i, err)
		}
		if docs, err = b.Load(t.Context(), "acme", key); err != nil || len(docs) != 1 {
			t.Fatal(docs, err)
		}
		version = docs[0].Version
	}
}

// TestTwoNodesUpdateOne: updates of one user on two nodes are one chain.
func TestTwoNodesUpdateOne(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Timeout = storeTimeout
	const each, callers = 10, 50
	var group sync.WaitGroup
	var nodes []*natsstore.Store
	for range 2 {
		s := servers.open(t, o)
		defer closeStore(t, s)
		nodes = append(nodes, s)
		for range callers {
			group.Go(func() {
				for range each {
					var n int
					if _, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, count(&n))); err != nil {
						t.Errorf("Update: %v", err)
					}
				}
			})
		}
	}
	group.Wait()
	// The other node may have made the last update, so this reads the newest record.
	var text string
	_, err := nodes[0].Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
		text = s.Note.Text
		return s, presence.ErrNoChange
	}))
	if want := fmt.Sprint(2 * callers * each); !errors.Is(err, presence.ErrNoChange) || text != want {
		t.Errorf("the count is %s, want %s; %v", text, want, err)
	}
}

// TestDamaged: bytes that changed on a server's disk are never accepted as a record, a
// document or an entry.
func TestDamaged(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	defer closeStore(t, s)
	doc := store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("value")}
	if err := s.Write(t.Context(), "acme", doc); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Fatal(err)
	}
	a := servers.admin(t)
	stream, err := a.Stream(t.Context(), "porchlight-state")
	if err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{"porchlight.d.>", "porchlight.s.>"} {
		m, err := stream.GetLastMsgForSubject(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		m.Data[len(m.Data)-1] ^= 1
		a.put(m.Subject, m.Data)
	}
	_, load := s.Load(t.Context(), "acme", doc.Key)
	_, list := s.List(t.Context(), "acme", "c", "", 10)
	_, _, read := s.Read(t.Context(), []store.User{userNumber(1)}, store.Freshness{})
	entries, err := s.Log(t.Context(), 0, 10)
	if err != nil || len(entries) != 2 {
		t.Fatalf("Log gave %+v, %v", entries, err)
	}
	for what, err := range map[string]error{"Load": load, "List": list, "Read": read, "Log": entries[1].Damaged} {
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
