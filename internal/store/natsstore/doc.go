// Package natsstore keeps a store on NATS JetStream, outside of this process.
//
// It is separate from package store so that several nodes can serve the same
// users, and so that nothing above knows which engine it runs on. It guarantees
// what store.Store promises, on servers that sync every write. Where it differs
// from an engine on this machine's disk:
//
//   - An update is one publish that names the version it replaces. Its function
//     runs again when somebody else was quicker.
//   - Reads may come from any replica. Each is at least as new as everything
//     that this node has stored or seen before it, and as a rule a few
//     milliseconds behind the other nodes. Update and Write decide on what the
//     leader has.
//   - A response may be lost. Each write carries an operation id, and a record keeps
//     those of its last four writers, so a write that is sent again is recognised.
//     ErrUnknown remains for servers that cannot be asked in time.
//   - The log may miss versions of a user who changed more than sixteen times
//     while the history stream was behind. The next entry then says Gap.
//   - Erase drops a user's entries, and the next one says Gap. A replica that is
//     behind may serve them a moment longer.
//   - Servers that were set back to older data, of both streams, are not noticed
//     unless a node ran meanwhile: nothing of the store is elsewhere. Its positions
//     are then assigned again. Such a store needs Options.NewEpoch. If the
//     state stream alone was set back, it is refused.
//   - Watch polls for new records, at least every 25 ms. It may deliver a cursor before
//     a user's record that has changed again since: the newer one follows.
//   - Expiry comes up to 300 ms late: the servers check timers four times a second. A
//     timer whose message could not be stored for want of space comes up to a minute
//     after there is space again.
//
// It must hold no rule about what a record means, and it must create or repair
// nothing that it finds missing: see Open.
//
// # Layout
//
// The state stream has one subject for each user's record, document, schedule
// and firing; see subjects. The history stream copies the records' messages from
// it, and is what Feed, Log and History read. An entry's position is its sequence in
// the state stream. Watch reads the state
// stream, which has the newest version of everybody.
//
// # Goroutines
//
// One watches the connection, and checks every half minute whether store and
// settings are still the ones that were opened; another asks the servers whether
// they still sync every write, and one renews the lease of a store that no other
// node may serve. Everything else runs on the
// callers' goroutines, and on the connection's.
package natsstore
