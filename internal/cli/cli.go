// Package cli is the command porchlight: its subcommands, their help and their
// output.
//
// It is separate from server, which it starts. Every other command uses the
// public API through package client, like any other program. The exceptions are
// the commands that work on a store or on the settings: init, backup, restore,
// verify, certificate, config, doctor, health, and "app list" and "app rotate" of a stopped server. Run is the
// whole program except for the exit, so that tests can run it in process.
//
// It guarantees that an error says what to do, that standard output contains only
// the result (in JSON with --json), and that the exit code is one of five: 0 for
// success, 1 for a failure, 2 for a usage or configuration error, 3 for a timeout, 4 for
// warnings alone, if they were asked for.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// The exit codes.
const (
	exitSuccess = 0
	exitFailure = 1
	exitUsage   = 2
	exitTimeout = 3
	exitWarning = 4 // only of "doctor --strict"
)

// commands is the whole command line.
type commands struct {
	JSON        bool             `name:"json" help:"Print JSON for scripts."`
	ShowVersion kong.VersionFlag `name:"version" help:"Print the version and exit."`

	Init         initCommand          `cmd:"" help:"Create a data directory with an account, its owner and an app."`
	Serve        serveCommand         `cmd:"" warns:"log" help:"Run the server."`
	Demo         demoCommand          `cmd:"" help:"Run a server with twenty users, to try Porchlight."`
	Backup       backupCommand        `cmd:"" help:"Back up a data directory, with or without a running server."`
	Restore      restoreCommand       `cmd:"" help:"Create a data directory from a backup."`
	Migrate      migrateCommand       `cmd:"" help:"Copy a store from a data directory to NATS, or back."`
	LogLevel     logLevelCommand      `cmd:"" help:"Show or change the log level of a running server."`
	Verify       verifyCommand        `cmd:"" help:"Check every byte of a backup or data directory."`
	Status       statusCommands       `cmd:"" help:"Show, set, explain or watch a user's status and its history, or wait for one."`
	Watch        watchCommands        `cmd:"" help:"Manage watches, which fire once when a user reaches a status."`
	Session      sessionCommands      `cmd:"" help:"Sign a user in, and list a user's sessions."`
	Contact      contactCommands      `cmd:"" help:"Manage a user's contacts."`
	Visibility   visibilityCommands   `cmd:"" help:"Control who sees a user's status."`
	Subscription subscriptionCommands `cmd:"" help:"Manage subscriptions, which send events to other systems."`
	Listen       listenCommand        `cmd:"" help:"Print events as they happen, and forward them to a local port."`
	User         userCommands         `cmd:"" help:"Manage users."`
	Group        groupCommands        `cmd:"" help:"Manage groups of users."`
	Account      accountCommands      `cmd:"" help:"Show the account, and change its owner or how much history it shows."`
	App          appCommands          `cmd:"" help:"Manage apps, which obtain access tokens."`
	Token        tokenCommands        `cmd:"" help:"Manage access tokens."`
	Audit        auditCommands        `cmd:"" help:"Read, export and verify the audit log."`
	Login        loginCommand         `cmd:"" help:"Log in to a server as yourself, with a browser."`
	Logout       logoutCommand        `cmd:"" help:"End a login."`
	Profile      profileCommands      `cmd:"" help:"Manage profiles, which hold servers and logins."`
	System       systemCommands       `cmd:"" help:"Manage the accounts of a server, as its operator."`
	Nodes        nodesCommands        `cmd:"" help:"List the nodes of a server, and let them write newer formats."`
	Whoami       whoamiCommand        `cmd:"" help:"Show whom the access token acts for."`
	Doctor       doctorCommand        `cmd:"" help:"Check a server, running or stopped, and say what to do about what is wrong."`
	Certificate  certificateCommand   `cmd:"" help:"List the certificates of a server, with their expiry and keys."`
	Config       configCommands       `cmd:"" help:"Check, print and document the settings."`
	Completion   completionCommands   `cmd:"" warns:"never" help:"Print a script that completes commands in the shell."`
	Health       healthCommand        `cmd:"" warns:"never" help:"Ask the server on this machine whether it is ready."`
	Version      versionCommand       `cmd:"" warns:"never" help:"Print the version." example:"version"`
	Help         helpCommand          `cmd:"" warns:"never" help:"Show the help of a command." example:"help status set"`
	Complete     completeCommand      `cmd:"" name:"__complete" hidden:"" passthrough:""`
	Reference    referenceCommand     `cmd:"" name:"__reference" hidden:""`
}

const description = `A self-hosted presence server that speaks Zoom's presence API.

Try it: porchlight demo

Exit codes: 0 success, 1 failure, 2 usage or configuration error, 3 "status wait" timed out, 4 "doctor --strict" found only warnings.
Environment: PORCHLIGHT_URL selects the server. PORCHLIGHT_TOKEN, or PORCHLIGHT_ACCOUNT_ID, PORCHLIGHT_CLIENT_ID and PORCHLIGHT_CLIENT_SECRET, are the credentials. Without them, commands use the login of the profile PORCHLIGHT_PROFILE or of the current one: see "porchlight login --help". "porchlight config doc" lists all variables. NO_COLOR disables colour.`

// A shell is the environment of one command.
type shell struct {
	ctx            context.Context //nolint:containedctx // a shell lives as long as the one command that it runs
	getenv         func(string) string
	program        string // as the user called it, or ""
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	given          func(flag string) bool // whether the flag is on the command line
	command        *kong.Node
	target         *target // nil until a command connects
	warnings       []string
}

func newParser(all *commands, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(all,
		kong.Name("porchlight"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(helpShown(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		kong.ValueFormatter(withDefault),
		kong.Vars{"version": versionLine()},
		kong.PostBuild(completeHelp),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(durationFlag)),
	)
}

// An Env is the environment of the process.
type Env struct {
	Getenv  func(string) string
	Names   []string // of all variables that are not empty; unknown ones with the prefix of the settings cause a warning
	Program string   // the command as the user called it; "" means porchlight
}

// ProcessEnv is the environment of this process.
func ProcessEnv() Env {
	var names []string
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); value != "" {
			names = append(names, name)
		}
	}
	return Env{os.Getenv, names, os.Args[0]}
}

// helpShown ends the parsing after help was printed.
type helpShown int

// Run runs one command and returns the exit code. It returns soon after ctx ends.
func Run(ctx context.Context, args []string, env Env, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	s := &shell{ctx: ctx, getenv: env.Getenv, program: env.Program, warnings: config.UnknownVariables(env.Names), stdin: stdin, stdout: stdout, stderr: stderr}
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
	parser, err := newParser(&all, stdout, stderr)
	if err != nil {
		return s.fail(fmt.Errorf("invalid command definition: %w", err))
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
	s.command = parsed.Selected()
	if !s.command.Hidden && !s.command.Tag.Has("warns") {
		s.warn()
	}
	if err := checkArguments(parsed); err != nil {
		return s.fail(err)
	}
	if err := parsed.Run(s); err != nil {
		return s.fail(err)
	}
	return exitSuccess
}

// warn prints the warnings about the environment. Commands with the tag "warns" report
// them in their own way, or need no environment.
func (s *shell) warn() {
	for _, warning := range s.warnings {
		s.warnOf(warning)
	}
}

func (s *shell) warnOf(warning string) {
	if s.json {
		_ = json.NewEncoder(s.stderr).Encode(map[string]string{"warning": warning}) // informational
	} else {
		_, _ = fmt.Fprintln(s.stderr, "porchlight: warning:", warning) // likewise
	}
}

// completeHelp makes the tag "example" of a command its detailed help (a command with
// longer help has a method Help), and shows the values that a flag can have.
func completeHelp(k *kong.Kong) error {
	k.Model.HelpFlag.Help = "Show this help and exit."
	return kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		if command, ok := node.(*kong.Node); ok && command.Tag != nil && command.Tag.Has("example") {
			example := command.Tag.Get("example")
			if !strings.Contains(example, "porchlight ") {
				example = "porchlight " + example
			}
			command.Detail = "Example:\n\n    " + example
		}
		if flag, ok := node.(*kong.Flag); ok && flag.Enum != "" {
			flag.PlaceHolder = strings.ReplaceAll(strings.TrimPrefix(flag.Enum, ","), ",", "|")
		}
		return next(nil)
	})
}

// withDefault adds the default to a flag's help. Kong omits it for flags with a
// placeholder.
func withDefault(v *kong.Value) string {
	if v.Flag == nil || v.Default == "" || v.Default == "false" {
		return v.Help
	}
	return fmt.Sprintf("%s (default %s)", v.Help, v.Default)
}

// usage adds a pointer to --help to an error of kong.
func usage(err error) error {
	name := "porchlight"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if command := parse.Context.Command(); command != "" {
			name += " " + strings.Join(strings.FieldsFunc(command, func(r rune) bool { return r == ' ' }), " ")
		}
	}
	if at := strings.IndexAny(name, "<["); at > 0 {
		name = strings.TrimSpace(name[:at])
	}
	return &usageError{fmt.Sprintf("%s; see \"%s --help\"", plainUsage(err.Error()), name)}
}

var (
	noValue    = regexp.MustCompile(`^(--[a-z-]+): (?:expected \w+ value but got "EOL".*|missing value, expecting .*)`)
	flagAsked  = regexp.MustCompile(`^(--[a-z-]+): expected \w+ value but got ("-[^"]*") \(.* flag\).*`)
	badNumber  = regexp.MustCompile(`^(--[a-z-]+): expected a valid \d+ bit u?int but got (".*")$`)
	noArgument = regexp.MustCompile(`^expected ("?<.*)$`)
	suggestion = regexp.MustCompile(`^((?:unknown flag|unexpected argument) (\S+)), did you mean (?:one of )?(.*)\?$`)
)

// plainUsage rewords what kong says in the terms of its parser.
func plainUsage(text string) string {
	text = noValue.ReplaceAllString(text, "$1 needs a value")
	text = flagAsked.ReplaceAllString(text, "$1 needs a value, but $2 follows it; if that is the value, join the two with \"=\"")
	text = badNumber.ReplaceAllString(text, "$1: $2 is not a whole number")
	text = noArgument.ReplaceAllString(strings.TrimPrefix(text, "missing positional arguments "), "missing $1")
	return nearOnly(text)
}

// nearOnly limits kong's suggestions to names that begin with the same letter. Of short
// words, kong also suggests very different ones.
func nearOnly(text string) string {
	parts := suggestion.FindStringSubmatch(text)
	if parts == nil {
		return text
	}
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(parts[2], "-"))
	var near []string
	for _, name := range strings.Split(parts[3], ", ") {
		if strings.HasPrefix(strings.TrimLeft(strings.Trim(name, `"`), "-"), string(first)) {
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		return parts[1]
	}
	return parts[1] + ", did you mean " + strings.Join(near, " or ") + "?"
}

// checkArguments refuses an empty name of a user or an object, such as from an unset
// shell variable, and "." and "..", which a URL path would resolve.
func checkArguments(parsed *kong.Context) error {
	if parsed.Selected().Hidden {
		return nil
	}
	for _, element := range parsed.Path {
		var value *kong.Value
		var name string
		switch {
		case element.Positional != nil:
			value, name = element.Positional, "<"+element.Positional.Name+">"
		case element.Flag != nil && (element.Flag.Name == "user" || element.Flag.Name == "watcher"):
			value, name = element.Flag.Value, "--"+element.Flag.Name
		default:
			continue
		}
		for _, text := range textsOf(value) {
			switch {
			case text == "":
				return &usageError{name + " is empty"}
			case (text == "." || text == "..") && value.Name != "file":
				return &usageError{fmt.Sprintf("%s cannot be %q", name, text)}
			}
		}
	}
	return nil
}

// textsOf returns the texts of a flag or argument; other types have none.
func textsOf(value *kong.Value) []string {
	switch v := value.Target.Interface().(type) {
	case string:
		return []string{v}
	case []string:
		return v
	default:
		return nil
	}
}

// flagsOf returns a function that reports whether a flag is on the command line.
func flagsOf(parsed *kong.Context) func(string) bool {
	given := make(map[string]bool)
	for _, element := range parsed.Path {
		if element.Flag != nil {
			given[element.Flag.Name] = true
		}
	}
	return func(name string) bool { return given[name] }
}

// durationFlag parses durations in the format of the settings, which has days.
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

// errTerminated is the cause of the context after a SIGTERM.
var errTerminated = errors.New("terminated")

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
			cause := errTerminated
			if got == os.Interrupt {
				cause = server.ErrInterrupted
			}
			cancel(cause)
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

func (*versionCommand) Run(s *shell) error {
	return s.print(map[string]string{"version": server.Version()}, "%s\n", versionLine())
}

func versionLine() string { return "porchlight " + server.Version() }

// helpCommand is "porchlight help".
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"Command, such as \"status set\". By default all commands are listed."`
}

// Run implements the command.
func (c *helpCommand) Run(k *kong.Kong) error {
	_, err := k.Parse(append(c.Command, "--help")) // which ends like --help
	return usage(err)
}
