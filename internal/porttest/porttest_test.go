package porttest_test

import (
	"net"
	"testing"

	"porchlight.dev/porchlight/internal/porttest"
)

// TestFree: each port is given once, can be listened on, and is given again when its test has ended.
func TestFree(t *testing.T) {
	const all = 22_000
	seen := make(map[int]bool)
	t.Run("first", func(t *testing.T) {
		for _, port := range append(porttest.Free(t, 200), porttest.Free(t, 200)...) {
			if seen[port] {
				t.Errorf("%d twice", port)
			}
			seen[port] = true
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", porttest.Address(t))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	})
	again := false
	for _, port := range porttest.Free(t, 2000) {
		again = again || seen[port]
	}
	if !again {
		t.Errorf("none of %d ports of %d was given again", len(seen), all)
	}
}
