package cli

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestReloadHangs: a reload that waits for a file for good does not keep the server from ending.
// One that takes a moment is completed.
func TestReloadHangs(t *testing.T) {
	for name, takes := range map[string]time.Duration{"a moment": reloadTimeout / 2, "for good": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hangups := make(chan os.Signal, 1)
				hangups <- syscall.SIGHUP
				over := make(chan struct{})
				stop := onHangup(hangups, func() {
					select {
					case <-time.After(takes):
					case <-over:
					}
				})
				synctest.Wait()
				begun := time.Now()
				stop()
				if took, want := time.Since(begun), min(takes, reloadTimeout); took != want {
					t.Errorf("it took %v to stop, want %v", took, want)
				}
				close(over)
			})
		})
	}
}
