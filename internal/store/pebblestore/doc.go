// Package pebblestore keeps a store on this machine's disk, with Pebble.
//
// It is separate from package store so that one process with one disk needs no
// other software, and so that nothing above knows which engine it runs on. It
// guarantees what store.Store promises, and more exactly in three places: reads
// are linearizable, the log is complete up to its retention, and ErrUnknown
// comes only from a store that failed or from a caller that stopped waiting. It
// must hold no rule about what a record means.
//
// # Goroutines
//
//   - The committer takes the requests that have gathered, runs each function
//     against the newest staged record, and applies one batch. It alone decides
//     what comes after what, so there is no lock around a user.
//   - The syncer waits for each batch to be on the disk, in order. Then it
//     installs the records, publishes the position, and answers the callers.
//     Nothing is shown before that.
//   - The keeper looks at the free space once a second, keeps the reserve whole,
//     and drops log entries by age and ended documents. Writers look at the free
//     space as well, every few milliseconds.
//   - Feed, Watch and Due run on their callers' goroutines.
//
// Pebble shows what is applied before it is on the disk. Whoever reads from it
// therefore waits until what was read is durable; see Store.lookup and
// Store.settled.
//
// # Locks
//
// guard is taken before any of the others, and by readers of the database only.
// The others (of a cache shard, the tail, the watchers, the agenda, the progress)
// are leaves: nobody takes a second one while holding one of them.
package pebblestore
