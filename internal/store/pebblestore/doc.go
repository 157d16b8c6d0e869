// Package pebblestore keeps a store on this machine's disk, with Pebble.
//
// It is separate from package store so that one process with one disk needs no
// other software, and so that nothing above knows which engine it runs on. It
// guarantees what store.Store promises, and more in three respects: reads are
// linearizable, the log is complete within its retention, and ErrUnknown comes
// only from a store that failed or from a caller that stopped waiting. It must
// hold no rule about what a record means.
//
// # Goroutines
//
//   - The committer takes the queued requests, runs each function against the newest
//     staged record, applies one batch and waits until it is on the disk. Then it installs
//     the records, publishes the position, and answers the callers. Nothing is visible
//     before that. It alone orders changes, so no lock is needed around a user.
//   - The replier calls the reply functions of Begin. If the store halts, it replies to
//     what the committer did not answer.
//   - Maintenance measures the free space once a second, refills the reserve, and
//     drops old log entries and expired documents. Writers measure the free space
//     as well, every few milliseconds.
//   - Feed, Watch and Due run on their callers' goroutines.
//
// Pebble shows what is applied before it is on the disk. Readers of the database
// therefore wait until what they read is durable; see Store.lookup and
// Store.awaitStaged.
//
// # Locks
//
// guard is locked before any other lock, and by readers of the database only. The
// others (of a cache shard, the log cache, the watchers, the schedule, the progress, the
// replier) are
// leaves: no goroutine locks a second one while it holds one of them.
package pebblestore
