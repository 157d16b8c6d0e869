// Package store is the contract between the decisions and the disk.
//
// It keeps one record for each user, the log of their changes in the order in
// which they were committed, and small documents. It says what is durable and
// in which order, and nothing of what a record means: rules are decided in
// package presence, by functions that the store runs.
//
// It is separate from its backends so that nothing above them can depend on one:
// package storetest runs every sentence below on each. It must hold nothing that
// both an embedded engine and a cluster of JetStream cannot honour.
package store
