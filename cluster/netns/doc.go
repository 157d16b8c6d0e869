// Package netns has the tests of several nodes as processes: three NATS servers and three
// Porchlight nodes in network namespaces of one machine, which are killed, paused, cut off
// and restarted while clients work.
//
// It is separate because it needs root, and minutes: `make cluster-test` runs it, `make test`
// does not. Everything runs in namespaces of network, mounts and processes that the test
// program makes for itself, so that nothing is left on the machine however it ends. It must
// contain no code but tests, and the program in node.
package netns
