// Command porchlight is a self-hosted presence server and everything to run it.
// "porchlight --help" lists its commands.
package main

import (
	"os"

	"porchlight.dev/porchlight/internal/cli"
)

func main() {
	ctx, stop := cli.UntilSignal()
	code := cli.Run(ctx, os.Args[1:], cli.ProcessEnv(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
