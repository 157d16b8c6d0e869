// Package cli is the command porchlight: its subcommands, their help and their
// output.
//
// It is separate from server, which it starts, and reaches everything else
// through the public API by package client, as any other program would: the
// exceptions are init, which makes what the API needs, and the settings. Run is
// the whole program but for its exit, so that tests run it in process.
//
// It guarantees that an error says what to do, that standard output has nothing
// but the answer, with --json in JSON, and one of four exit codes: 0 for done, 1
// for a failure, 2 for a command, a flag or a setting that makes no sense, 3 for
// what did not come in the time that was given for it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// The exit codes.
const (
	exitDone    = 0
	exitFailure = 1
	exitUsage   = 2
	exitTimeout = 3
)

// commands is the whole command line.
type commands struct {
	JSON bool `name:"json" help:"Print JSON, for scripts."`

	Init       initCommand        `cmd:"" help:"Make a data directory: an account, its owner and an app."`
	Serve      serveCommand       `cmd:"" help:"Run the server."`
	Demo       demoCommand        `cmd:"" help:"Run a server with twenty users to try things on."`
	Backup     backupCommand      `cmd:"" help:"Back up a data directory, while the server runs or not."`
	Restore    restoreCommand     `cmd:"" help:"Make a new data directory from a backup."`
	Verify     verifyCommand      `cmd:"" help:"Check a backup or a data directory, byte by byte."`
	Status     statusCommands     `cmd:"" help:"Read, watch, wait for, set and explain a user's status."`
	Watch      watchCommands      `cmd:"" help:"Be told once when somebody comes to a status."`
	Session    sessionCommands    `cmd:"" help:"Sign users in, and list who is."`
	Contact    contactCommands    `cmd:"" help:"Whom a user follows."`
	Visibility visibilityCommands `cmd:"" help:"Who sees what of a user."`
	User       userCommands       `cmd:"" help:"Administer users."`
	App        appCommands        `cmd:"" help:"Administer apps, which get access tokens."`
	Token      tokenCommands      `cmd:"" help:"Administer access tokens."`
	Config     configCommands     `cmd:"" help:"Check, print and document the settings."`
	Version    versionCommand     `cmd:"" help:"Print the version."`
}

const description = `A self-hosted presence server that speaks Zoom's presence API.

Try it: porchlight demo

Exit codes: 0 done, 1 failed, 2 the command, a flag or a setting makes no sense, 3 what "status wait" waits for did not come in time.
Variables: PORCHLIGHT_URL and PORCHLIGHT_TOKEN (or PORCHLIGHT_ACCOUNT_ID, PORCHLIGHT_CLIENT_ID and PORCHLIGHT_CLIENT_SECRET) say which server to talk to and as whom; "porchlight config doc" lists all. NO_COLOR turns colour off.`

// A shell is what a command runs in.
type shell struct {
	ctx            context.Context //nolint:containedctx // a shell lives as long as the one command that it runs
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	given          func(flag string) bool // on the command line
}

// helpShown ends the parsing after help was printed.
type helpShown int

// Run runs one command and gives the exit code. It ends soon after ctx does.
func Run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	s := &shell{ctx: ctx, getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	defer func() {
		if v := recover(); v != nil {
			shown, ok := v.(helpShown)
			if !ok {
				panic(v)
			}
			code = int(shown)
		}
	}()
	var all commands
	parser, err := kong.New(&all,
		kong.Name("porchlight"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(helpShown(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		kong.ValueFormatter(withDefault),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(durationFlag)),
	)
	if err != nil {
		return s.fail(fmt.Errorf("the command line is built wrongly: %w", err))
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return s.fail(usage(err))
	}
	s.json = all.JSON
	s.given = flagsOf(parsed)
	if err := parsed.Run(s); err != nil {
		return s.fail(err)
	}
	return exitDone
}

// withDefault is a flag's help with its default, which kong leaves out beside a
// placeholder.
func withDefault(v *kong.Value) string {
	if v.Flag == nil || v.Default == "" || v.Default == "false" {
		return v.Help
	}
	return fmt.Sprintf("%s (default %s)", v.Help, v.Default)
}

// usage adds where to read on to what kong finds wrong.
func usage(err error) error {
	name := "porchlight"
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok && wrong.Context != nil {
		if command := wrong.Context.Command(); command != "" {
			name += " " + strings.Join(strings.FieldsFunc(command, func(r rune) bool { return r == ' ' }), " ")
		}
	}
	if at := strings.IndexAny(name, "<["); at > 0 {
		name = strings.TrimSpace(name[:at])
	}
	return &usageError{fmt.Sprintf("%v; see \"%s --help\"", err, name)}
}

// flagsOf tells which flags were on the command line.
func flagsOf(parsed *kong.Context) func(string) bool {
	given := make(map[string]bool)
	for _, element := range parsed.Path {
		if element.Flag != nil {
			given[element.Flag.Name] = true
		}
	}
	return func(name string) bool { return given[name] }
}

// durationFlag reads durations as the settings do, with days.
func durationFlag(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return err
	}
	target.SetInt(int64(d))
	return nil
}

// UntilSignal is a context that ends at the first interrupt or SIGTERM. A second
// one ends the process at once.
func UntilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case got := <-signals:
			signal.Stop(signals)
			if got == os.Interrupt {
				cancel(server.ErrInterrupted)
			}
			cancel(nil)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// versionCommand is "porchlight version".
type versionCommand struct{}

// Run implements the command.
func (*versionCommand) Run(s *shell) error {
	return s.print(map[string]string{"version": server.Version()}, "porchlight %s\n", server.Version())
}

// Help is shown by --help.
func (*versionCommand) Help() string { return "Example:\n\n    porchlight version" }
