// Package porttest reserves ports of loopback for the servers of tests.
//
// It is separate because tests of several packages run servers beside each other whose ports
// must be known before they start, or remain theirs while they are down. A port belongs to one
// test until that ends, over all processes that use this package, and is below the ephemeral
// range: no connection gets it by chance. It must not start servers. Only tests may import it.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Free returns n different ports that nothing listens on, until the test ends.
func Free(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for range 100 * n {
		if port := 10_000 + rand.IntN(22_000); reserve(tb, port) {
			if ports = append(ports, port); len(ports) == n {
				return ports
			}
		}
	}
	tb.Fatalf("%d of %d ports are free", len(ports), n)
	return nil
}

// Address is a free port as an address to listen on.
func Address(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprint("127.0.0.1:", Free(tb, 1)[0])
}

// reserve reports whether the port is free and is now reserved, by a name of the kernel's (a socket of
// Linux that is not a file) which other processes then cannot take.
func reserve(tb testing.TB, port int) bool {
	tb.Helper()
	var listen net.ListenConfig
	name, err := listen.Listen(tb.Context(), "unix", fmt.Sprint("@porchlight-test-port-", port))
	if err != nil {
		return false
	}
	l, err := listen.Listen(tb.Context(), "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		_ = name.Close()
		return false
	}
	_ = l.Close()
	tb.Cleanup(func() { _ = name.Close() })
	return true
}
