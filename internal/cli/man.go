package cli

import (
	"strings"

	"github.com/alecthomas/kong"
)

// manualPages are the pages of section 1, by file name: one of the command as a whole,
// and one of each of its commands.
func manualPages(root *kong.Node) map[string]string {
	pages := map[string]string{"porchlight.1": mainManual(root)}
	for _, command := range shownCommands(root) {
		pages["porchlight-"+command.Name+".1"] = commandManual(command)
	}
	return pages
}

// A manual is a page in the macros of man(7).
type manual struct{ strings.Builder }

// newManual begins a page. It has no date, so that the same source makes the same page.
func newManual(name, summary string) *manual {
	m := new(manual)
	m.WriteString(".\\\" Written by \"go generate\": change the help in internal/cli instead.\n")
	m.WriteString(".TH " + strings.ToUpper(roff(name)) + " 1 \"\" Porchlight \"User Commands\"\n")
	m.section("NAME")
	m.text(name + " - " + strings.ToLower(summary[:1]) + strings.TrimSuffix(summary[1:], "."))
	return m
}

func mainManual(root *kong.Node) string {
	m := newManual("porchlight", "Self-hosted presence server")
	m.section("SYNOPSIS")
	m.line(".B porchlight")
	m.line("\\fIcommand\\fR [\\fIflags\\fR]")
	m.section("DESCRIPTION")
	first, _, _ := strings.Cut(description, "\n")
	m.text(first)
	m.line(".PP")
	m.text("\"porchlight demo\" starts a server to try. \"porchlight help COMMAND\" shows the help of a command.")
	m.section("COMMANDS")
	for _, command := range shownCommands(root) {
		m.entry("porchlight-"+command.Name+"(1)", command.Help)
	}
	m.section("OPTIONS")
	m.facts(flagFacts(root))
	m.line(".SS \"Commands that call a server\"")
	m.facts(connectionFlags(root))
	m.section("EXIT STATUS")
	m.facts(exitCodes)
	m.section("ENVIRONMENT")
	m.facts(variables)
	m.section("FILES")
	m.facts(usedFiles)
	return m.String()
}

func commandManual(command *kong.Node) string {
	m := newManual("porchlight-"+command.Name, command.Help)
	m.section("SYNOPSIS")
	all := leaves(command)
	for i, leaf := range all {
		if i > 0 {
			m.line(".br")
		}
		m.text(synopsis(leaf))
	}
	if len(all) == 1 && all[0] == command {
		m.section("DESCRIPTION")
		m.command(command)
	} else {
		m.section("COMMANDS")
		for _, leaf := range all {
			m.line(".SS \"" + roff(synopsis(leaf)) + "\"")
			m.command(leaf)
		}
	}
	m.section("EXIT STATUS")
	m.facts(exitCodes)
	m.section("SEE ALSO")
	m.line(".BR porchlight (1)")
	return m.String()
}

func (m *manual) command(node *kong.Node) {
	m.text(node.Help)
	for _, paragraph := range sections(node.Detail) {
		m.line(".PP")
		if isExample(paragraph) {
			m.example(paragraph)
			continue
		}
		m.text(strings.Join(strings.Fields(paragraph), " "))
	}
	m.facts(append(argumentFacts(node), flagFacts(node)...))
}

func (m *manual) line(text string) { m.WriteString(text + "\n") }

func (m *manual) section(title string) { m.line(".SH " + roffTitle(title)) }

func roffTitle(title string) string {
	if strings.Contains(title, " ") {
		return `"` + title + `"`
	}
	return title
}

func (m *manual) text(text string) { m.line(roff(text)) }

func (m *manual) facts(facts []fact) {
	for _, f := range facts {
		m.entry(f.name, f.text)
	}
}

func (m *manual) entry(name, text string) {
	m.line(".TP")
	m.line("\\fB" + roff(name) + "\\fR")
	m.text(text)
}

// example shows lines as they are.
func (m *manual) example(paragraph string) {
	m.line(".RS 4")
	m.line(".nf")
	for line := range strings.SplitSeq(paragraph, "\n") {
		m.text(strings.TrimPrefix(line, "    "))
	}
	m.line(".fi")
	m.line(".RE")
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", `\&...`, "“", `\(lq`, "”", `\(rq`, "→", `\(->`)

// roff escapes text, in which a dot at the beginning of a line would be a request.
func roff(text string) string {
	text = roffEscapes.Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
