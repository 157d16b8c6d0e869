// Package natsstore implements a store on NATS JetStream, outside of this process.
//
// It is separate from package store so that several nodes can share a store, and so that
// the layers above do not depend on the engine. It guarantees what store.Store promises, on
// servers that sync every write. It differs from an engine on a local disk:
//
//   - An update is one publish that names the version that it replaces. The update function
//     runs again if another write came first.
//   - Any replica may serve a read. The result is at least as new as everything that this
//     node has stored or read before, and usually a few milliseconds behind other nodes.
//     Update and Write decide on any state, which the condition of their message confirms. If
//     there is no message, because they refuse, a barrier confirms it.
//   - An acknowledgement may be lost. Each write has an operation id, and a record lists the
//     ids of its last four writes, so a repeated write is recognised. ErrUnknown remains for
//     servers that do not respond in time.
//   - The log may miss versions of a user who changed more than sixteen times while the
//     history stream was behind. The next entry then has a Gap.
//   - Erase drops a user's entries, and the next entry has a Gap. A stale replica may serve
//     the old entries for a moment longer.
//   - A rollback of both streams to older data is detected only by nodes that run meanwhile,
//     since the store has no data elsewhere. The store then assigns positions twice, and
//     requires Options.NewEpoch. A rollback of the state stream alone is detected and refused.
//   - Watch polls for new records, at least every 25 ms. It may deliver a cursor before the
//     record of a user that has changed again since: the newer record follows.
//   - Expiry is up to 300 ms late: the servers check timers four times a second. If the
//     servers had no space for the message of a timer, it fires up to a minute after they
//     have space again.
//
// It must not depend on the meaning of a record, and must neither create nor repair missing
// parts of an existing store: see Open.
//
// # Layout
//
// The state stream has one subject for each document, schedule and firing, and two for each
// record: see subjects. It is authoritative, and has the newest version of each record. One
// subject of a record has the versions with a log entry; Watch reads them, they are
// republished, and the history stream copies them, which Feed, Log and History read. The
// other subject has the newest version without one, which goes nowhere else. The newer of
// both is the record. The position of a log entry is the sequence of its message in the
// state stream.
//
// In layout 1, of formats up to 3, a record had one subject. Such records are read where they
// are until their next update. See splitRecords.
//
// # Goroutines
//
// One goroutine monitors the connection, and verifies store and settings every half minute.
// One asks the servers whether they still sync every write. One renews the lease of a node, or of
// a process that uses the store exclusively. All other work runs on the goroutines of callers, and on
// those of the connection.
package natsstore
