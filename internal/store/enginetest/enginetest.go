// Package enginetest opens the store that tests of the parts above it run on: the
// embedded engine in memory, or, where the environment says so, the other one.
//
// It is separate from storetest, which knows no engine, so that every test of a
// dialect, of the directory or of tokens is also a test of either engine: `make
// test` runs them once on each. It also looks for goroutines that tests of clusters leave.
// Only tests may import it.
package enginetest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// Variable is what chooses the engine: "nats", or nothing for the embedded one.
const Variable = "TEST_STORE"

// Timeout is the timeout of stores on NATS in tests, which do not give up while the
// machine stalls.
const Timeout = 20 * time.Second

// keepAll is a retention that no clock of a test reaches. The embedded engine trims its log
// by that clock, but first does so when a second of the machine's has passed: a test that sets
// its clock forward by weeks, and takes longer than that, would lose entries. On NATS the
// machine's clock decides.
const keepAll = 200 * 365 * 24 * time.Hour

// Main runs the tests of a package, and fails if they leave goroutines.
func Main(m *testing.M) { goleak.VerifyTestMain(patient{m}, stoppingServer()) }

// leakLimit is how long goroutines may go on after the tests. The client and the servers of NATS
// do not wait for all of theirs, which take long to end on a busy machine.
const leakLimit = time.Minute

// A patient waits for the goroutines that tests leave.
type patient struct{ m *testing.M }

// Run implements goleak.TestingM.
func (p patient) Run() int {
	code := p.m.Run()
	end := time.Now().Add(leakLimit)
	for code == 0 && goleak.Find(stoppingServer()) != nil && time.Now().Before(end) {
		continue // Find waits for a moment
	}
	return code
}

// stoppingServer ignores a goroutine that a stopping server leaves until its timeout.
func stoppingServer() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3")
}

// Open makes a new, empty store, and closes it when the test ends.
func Open(tb testing.TB, clock func() time.Time) store.Store {
	tb.Helper()
	var (
		opened store.Store
		err    error
	)
	if OnNATS() {
		n := StartNATS(tb)
		opened, err = natsstore.Open(context.Background(), n.URL(), natsstore.Options{Clock: clock, Replicas: 1, SystemURL: n.SystemURL(), Timeout: Timeout})
	} else {
		opened, err = pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: clock, MinFreeBytes: -1, Retention: keepAll})
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := opened.Close(); err != nil {
			tb.Error(err)
		}
	})
	return opened
}

// OnNATS reports whether tests are to run on the second engine.
func OnNATS() bool {
	switch name := os.Getenv(Variable); name {
	case "":
		return false
	case "nats":
		return true
	default:
		panic(fmt.Sprintf("%s=%s: it is \"nats\", or nothing", Variable, name))
	}
}

// Embedded skips a test that runs on the embedded engine, whichever is chosen, where the
// tests run again on the other one: it would repeat what it has shown.
func Embedded(tb testing.TB) {
	tb.Helper()
	if OnNATS() {
		tb.Skip("this test runs on the embedded engine, and has run")
	}
}

// A NATS is a server that runs until the test ends.
type NATS struct {
	Host string // and port, on loopback
	// What it asks for, as USER:PASSWORD: of the user of the store, and of one of
	// the system account.
	User, System string
	// Dir has its files.
	Dir string
}

// URL is that of the store's user, SystemURL of the system account's.
func (n NATS) URL() string       { return "nats://" + n.User + "@" + n.Host }
func (n NATS) SystemURL() string { return "nats://" + n.System + "@" + n.Host }

// StartNATS runs a NATS server that syncs every write, in memory if possible: the tests
// of natsstore show what a disk keeps, and those that use this one would wait for it.
func StartNATS(tb testing.TB) NATS {
	tb.Helper()
	n := NATS{User: "porchlight:secret", System: "system:topsecret", Dir: DirInMemory(tb)}
	own, system := server.NewAccount("PORCHLIGHT"), server.NewAccount("SYS")
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, AuthTimeout: time.Minute.Seconds(),
		JetStream: true, StoreDir: n.Dir, SyncAlways: true,
		Accounts: []*server.Account{own, system}, SystemAccount: "SYS",
		Users: []*server.User{
			{Username: "porchlight", Password: "secret", Account: own},
			{Username: "system", Password: "topsecret", Account: system},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	tb.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(time.Minute) {
		tb.Fatal("the NATS server did not start within a minute")
	}
	account, err := ns.LookupAccount("PORCHLIGHT")
	if err == nil {
		err = account.EnableJetStream(nil, nil)
	}
	if err != nil {
		tb.Fatal(err)
	}
	n.Host = ns.Addr().String()
	return n
}

// DirInMemory makes a directory that the test removes, in memory if the system has a
// place for it.
func DirInMemory(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "enginetest") //nolint:usetesting // which is on a disk
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}
