package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// referenceCommand is the hidden command with which "go generate" writes the reference of
// the command line: a page in Markdown, and manual pages.
type referenceCommand struct {
	Page string `arg:"" help:"File for the page in Markdown."`
	Man  string `arg:"" help:"Directory for the manual pages, whose other manual pages are deleted."`
}

// Run implements the command.
func (c *referenceCommand) Run(k *kong.Kong) error {
	if err := os.WriteFile(c.Page, []byte(markdownReference(k.Model.Node)), 0o644); err != nil { //nolint:gosec // a document
		return err
	}
	old, err := filepath.Glob(filepath.Join(c.Man, "porchlight*.1"))
	if err != nil {
		return err
	}
	for _, page := range old {
		if err := os.Remove(page); err != nil {
			return err
		}
	}
	for name, page := range manualPages(k.Model.Node) {
		if err := os.WriteFile(filepath.Join(c.Man, name), []byte(page), 0o644); err != nil { //nolint:gosec // a document
			return err
		}
	}
	return nil
}

// A fact is a row of a table in the reference.
type fact struct{ name, text string }

// exitCodes, variables and files are what a user of the command may need beside its help.
var (
	exitCodes = []fact{
		{"0", "Success."},
		{"1", "The command failed."},
		{"2", "Usage or configuration error. Nothing was done."},
		{"3", "\"status wait\" timed out."},
		{"4", "\"doctor --strict\" found warnings and no problems."},
	}
	variables = []fact{
		{"PORCHLIGHT_PROFILE", "Profile whose server and login to use."},
		{"PORCHLIGHT_URL", "URL of the API."},
		{"PORCHLIGHT_TOKEN", "Access token. PORCHLIGHT_TOKEN_FILE names a file that contains it."},
		{"PORCHLIGHT_ACCOUNT_ID, PORCHLIGHT_CLIENT_ID, PORCHLIGHT_CLIENT_SECRET", "Credentials of an app, if there is no token. PORCHLIGHT_CLIENT_SECRET_FILE names a file that contains the secret."},
		{"PORCHLIGHT_CA_FILE", "PEM file with the certificates to trust in place of the system's."},
		{"PORCHLIGHT_PINNED_PUBKEY", "SHA-256 of the server's public key: trust a server with this key, and no other."},
		{"PORCHLIGHT_CONFIG", "Settings file of the server."},
		{"PORCHLIGHT_…", "Each setting of the server has a variable. \"porchlight config doc\" lists them."},
		{"NO_COLOR", "Disables colour if it is not empty."},
		{"XDG_CACHE_HOME", "Directory of caches, $HOME/.cache by default. macOS and Windows have directories of their own."},
		{"XDG_CONFIG_HOME", "Directory of settings, $HOME/.config by default. macOS and Windows have directories of their own."},
	}
	usedFiles = []fact{
		{"$XDG_CACHE_HOME/porchlight/", "Access tokens that commands fetched with the credentials of an app, until they expire. Only its owner can read it."},
		{"$XDG_CONFIG_HOME/porchlight/profiles/", "Profiles, with the tokens of logins. Only its owner can read it."},
		{"DIR/store/", "The data in the data directory DIR (--data-dir). \"porchlight backup\" copies it."},
	}
)

// shownCommands are the subcommands of a node that help lists.
func shownCommands(node *kong.Node) []*kong.Node {
	var shown []*kong.Node
	for _, child := range node.Children {
		if !child.Hidden {
			shown = append(shown, child)
		}
	}
	return shown
}

// ownFlags are the flags of a command beside those that every command has, and those that
// every command has that calls a server with credentials. "login" and "logout" have only
// some of the latter, which are their own.
func ownFlags(node *kong.Node) (own, connection []*kong.Flag) {
	shared := slices.ContainsFunc(node.Flags, func(flag *kong.Flag) bool { return flag.Name == "token" })
	for _, flag := range node.Flags {
		switch {
		case flag.Hidden || flag.Name == "help":
		case shared && flag.Group != nil && flag.Group.Key == "Connection":
			connection = append(connection, flag)
		default:
			own = append(own, flag)
		}
	}
	return own, connection
}

// connectionFlags are the flags of every command that calls a server.
func connectionFlags(root *kong.Node) []fact {
	for _, leaf := range root.Leaves(true) {
		if _, flags := ownFlags(leaf); len(flags) > 0 {
			return factsOf(flags)
		}
	}
	return nil
}

// flagFact describes a flag.
func flagFact(flag *kong.Flag) fact {
	name := "--" + flag.Name
	if flag.Short != 0 {
		name = "-" + string(flag.Short) + ", " + name
	}
	if !flag.IsBool() {
		name += "=" + flag.FormatPlaceHolder()
	}
	return fact{name, withDefault(flag.Value)}
}

// synopsis is a command as one writes it.
func synopsis(node *kong.Node) string {
	words := []string{node.FullPath()}
	for _, argument := range node.Positional {
		words = append(words, argument.Summary())
	}
	switch {
	case len(node.Children) > 0:
		words = append(words, "<command>")
	case len(node.Flags) > 1: // not only --help
		words = append(words, "[flags]")
	}
	return strings.Join(words, " ")
}

// sections splits a command's detailed help into paragraphs. Those that are indented are
// examples.
func sections(detail string) []string {
	if detail = strings.TrimSpace(detail); detail == "" {
		return nil
	}
	return strings.Split(detail, "\n\n")
}

// isExample reports whether a paragraph is indented.
func isExample(paragraph string) bool { return strings.HasPrefix(paragraph, "    ") }

// leaves are the commands below a node, or the node itself.
func leaves(node *kong.Node) []*kong.Node {
	if len(node.Children) == 0 {
		return []*kong.Node{node}
	}
	var all []*kong.Node
	for _, child := range shownCommands(node) {
		all = append(all, leaves(child)...)
	}
	return all
}

// markdownReference is the page with every command.
func markdownReference(root *kong.Node) string {
	var b strings.Builder
	b.WriteString("# Command line\n\n<!-- Written by \"go generate\": change the help in internal/cli instead. -->\n\n" +
		"`porchlight` is the server and the command that administers it. `porchlight help COMMAND` shows what this page has about a command, " +
		"and the directory man of the repository has it as manual pages.\n")
	b.WriteString("\n## Every command\n\n")
	markdownFacts(&b, flagFacts(root))
	b.WriteString("\n## Commands that call a server\n\n")
	markdownFacts(&b, connectionFlags(root))
	for _, table := range []struct {
		title string
		rows  []fact
	}{{"Exit codes", exitCodes}, {"Environment", variables}, {"Files", usedFiles}} {
		b.WriteString("\n## " + table.title + "\n\n")
		markdownFacts(&b, table.rows)
	}
	for _, command := range shownCommands(root) {
		fmt.Fprintf(&b, "\n## porchlight %s\n\n%s\n", command.Name, markdownText(command.Help))
		for _, leaf := range leaves(command) {
			markdownCommand(&b, leaf, leaf != command)
		}
	}
	return b.String()
}

func markdownCommand(b *strings.Builder, node *kong.Node, titled bool) {
	if titled {
		fmt.Fprintf(b, "\n### %s\n\n%s\n", node.FullPath(), markdownText(node.Help))
	}
	fmt.Fprintf(b, "\n    %s\n", synopsis(node))
	for _, paragraph := range sections(node.Detail) {
		if !isExample(paragraph) {
			paragraph = markdownText(paragraph)
		}
		b.WriteString("\n" + paragraph + "\n")
	}
	if facts := append(argumentFacts(node), flagFacts(node)...); len(facts) > 0 {
		b.WriteString("\n")
		markdownFacts(b, facts)
	}
}

func argumentFacts(node *kong.Node) []fact {
	var facts []fact
	for _, argument := range node.Positional {
		facts = append(facts, fact{argument.Summary(), argument.Help})
	}
	return facts
}

// flagFacts describes a command's own flags.
func flagFacts(node *kong.Node) []fact {
	own, connection := ownFlags(node)
	facts := factsOf(own)
	if len(connection) > 0 {
		facts = append(facts, fact{"--url=URL …", "This command calls a server, and has the flags of all commands that do."})
	}
	return facts
}

func factsOf(flags []*kong.Flag) []fact {
	facts := make([]fact, len(flags))
	for i, flag := range flags {
		facts[i] = flagFact(flag)
	}
	return facts
}

func markdownFacts(b *strings.Builder, facts []fact) {
	for _, f := range facts {
		fmt.Fprintf(b, "- `%s`: %s\n", f.name, markdownText(f.text))
	}
}

var markdownEscapes = strings.NewReplacer("<", "\\<", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[")

func markdownText(text string) string { return markdownEscapes.Replace(text) }
