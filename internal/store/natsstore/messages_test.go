package natsstore_test

import (
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestMessages: a message reaches the other nodes of its store and nobody else, and whoever
// gets it reads what its sender had written, although replicas may be behind.
func TestMessages(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	o := servers.options()
	sender, receiver := servers.open(t, o), servers.open(t, o)
	defer closeStore(t, sender)
	defer closeStore(t, receiver)
	other := o
	other.Prefix = "other"
	foreign := servers.open(t, other)
	defer closeStore(t, foreign)

	unexpected := make(chan string, 1000)
	for name, s := range map[string]*natsstore.Store{"the sender": sender, "a node of another store": foreign} {
		subscribe(t, s, "news", func(b []byte) { unexpected <- name + " got " + string(b) })
	}
	subscribe(t, receiver, "other", func(b []byte) { unexpected <- "another topic got " + string(b) })
	received := make(chan string, 1)
	stop := subscribe(t, receiver, "news", func(b []byte) { received <- string(b) })

	deliver(t, sender, received)
	key, version := store.Key{Collection: "c", Key: "k"}, ""
	for i := range 200 {
		text := strconv.Itoa(i)
		if err := sender.Write(t.Context(), "acme", store.Doc{Key: key, Version: version, Value: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if err := sender.Broadcast("news", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, received); got != text {
			t.Fatalf("message %s arrived as %s", text, got)
		}
		docs, err := receiver.Load(t.Context(), "acme", key)
		if err != nil || len(docs) != 1 || string(docs[0].Value) != text {
			t.Fatalf("after message %s the receiver reads %+v, %v", text, docs, err)
		}
		if docs, err = sender.Load(t.Context(), "acme", key); err != nil || len(docs) != 1 {
			t.Fatal(docs, err)
		}
		version = docs[0].Version
	}
	stop()
	again := make(chan string, 1)
	subscribe(t, receiver, "news", func(b []byte) { again <- string(b) })
	deliver(t, sender, again)
	select {
	case text := <-received:
		t.Errorf("a subscription that was stopped got %q", text)
	default:
	}
	select {
	case what := <-unexpected:
		t.Error(what)
	default:
	}
}

// deliver sends a message until the receiver gets one, and takes those that follow: the
// servers may learn of a subscription a little after it was made.
func deliver(t *testing.T, from *natsstore.Store, received <-chan string) {
	t.Helper()
	sent := 0
	waitFor(t, "the subscription", func() bool {
		sent++
		if err := from.Broadcast("news", []byte("ready"+strconv.Itoa(sent))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-received:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	last := "end"
	if err := from.Broadcast("news", []byte(last)); err != nil {
		t.Fatal(err)
	}
	for receive(t, received) != last {
	}
}

func subscribe(t *testing.T, s *natsstore.Store, topic string, fn func([]byte)) (stop func()) {
	t.Helper()
	stop, err := s.Subscribe(topic, fn)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case text := <-from:
		return text
	case <-time.After(waitLimit):
		t.Fatal("no message arrived")
		return ""
	}
}
