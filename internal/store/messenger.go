package store

// A Messenger sends messages to the other nodes of a store. It is an optional capability of
// engines whose stores several nodes can share.
//
// A message arrives at most once, and may be lost: the sender repeats it, or the receivers
// find out in another way. Messages of one node arrive in order. Whoever receives
// one can read what its sender had stored when it was sent: no later read of this store is
// older. Messages are visible to everybody who can read the store's subjects, so they have
// no secrets.
type Messenger interface {
	// Broadcast sends a message to all other nodes that subscribe to a topic, which is a
	// word of lower-case letters. It does not wait for them.
	Broadcast(topic string, payload []byte) error
	// Subscribe calls fn with each message of other nodes on a topic, one after another,
	// until stop is called. fn must be quick, and may keep the payload.
	Subscribe(topic string, fn func(payload []byte)) (stop func(), err error)
}
