// Package store is the contract between the rules of presence and the storage.
//
// A store holds one record for each user, the log of their changes in the order in
// which they were committed, and small documents. The contract defines what is durable
// and in which order. It does not define what a record means: functions of package
// presence decide that, and the store runs them.
//
// The package is separate from its backends so that nothing above depends on one of
// them. Package storetest tests every sentence below on each backend. The contract must
// not promise anything that an embedded engine or a JetStream cluster cannot fulfil.
package store
