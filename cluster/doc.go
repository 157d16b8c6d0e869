// Package cluster tests several nodes on one JetStream store: three NATS servers and three
// servers of the product in one process, without privileges.
//
// It is separate because it tests no single part: what a client sees must be the same
// whichever node answers, and whichever of them stops, dies or is cut off. A node dies by
// losing its clients and its store at the same instant, behind two proxies. Scenarios run in
// parallel, each on a store of its own, because they mostly wait.
package cluster
