// Command porchlight is a self-hosted presence server and everything to run it.
// "porchlight --help" lists its commands.
package main

import (
	"io"
	"log" //nolint:depguard // to silence it
	"os"

	"porchlight.dev/porchlight/internal/cli"
)

func main() {
	// Only net/http uses this log: it writes there what an endpoint of a user sends without
	// being asked. An endpoint must not be able to fill the operator's log.
	log.SetOutput(io.Discard)
	ctx, stop := cli.UntilSignal()
	code := cli.Run(ctx, os.Args[1:], cli.ProcessEnv(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
