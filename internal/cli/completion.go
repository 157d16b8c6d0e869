package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"porchlight.dev/porchlight/api"
)

// completionCommands are "porchlight completion …".
type completionCommands struct {
	Bash completionScript `cmd:"" warns:"never" help:"Print the completion script for bash." example:"source <(porchlight completion bash)   # also a line for ~/.bashrc"`
	Zsh  completionScript `cmd:"" warns:"never" help:"Print the completion script for zsh." example:"source <(porchlight completion zsh)   # also a line for ~/.zshrc, after compinit"`
	Fish completionScript `cmd:"" warns:"never" help:"Print the completion script for fish." example:"porchlight completion fish | source   # also a line for config.fish"`
}

type completionScript struct{}

// Run implements the command.
func (*completionScript) Run(s *shell, parsed *kong.Context) error {
	_, err := fmt.Fprint(s.stdout, completionScripts[parsed.Selected().Name])
	return err
}

// completionScripts ask the command itself for candidates, so that they work with every
// version: one per line, with a tab before the description. If there are none, the shells
// complete file names.
var completionScripts = map[string]string{
	"bash": `# Completion of porchlight for bash.
_porchlight() {
  local word
  COMPREPLY=()
  while IFS=$'\t' read -r word _; do
    COMPREPLY+=("$word")
  done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _porchlight porchlight
`,
	"zsh": `#compdef porchlight
# Completion of porchlight for zsh.
_porchlight() {
  local word help
  local -a found
  while IFS=$'\t' read -r word help; do
    found+=("${word//:/\\:}:$help")
  done < <("$words[1]" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( $#found )); then
    _describe -V porchlight found
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_porchlight" ]; then
  _porchlight "$@"
else
  compdef _porchlight porchlight
fi
`,
	"fish": `# Completion of porchlight for fish.
function __porchlight_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l program $words[1]
  set -e words[1]
  $program __complete $words "$current" 2>/dev/null
end
complete -c porchlight -n 'count (__porchlight_complete) >/dev/null' -f -k -a '(__porchlight_complete)'
`,
}

// completeCommand is the hidden command that the scripts call.
type completeCommand struct {
	Words []string `arg:"" optional:""`
}

// Run implements the command.
func (c *completeCommand) Run(s *shell, k *kong.Kong) error {
	if len(c.Words) == 0 {
		return nil
	}
	for _, candidate := range candidates(k.Model.Node, c.Words) {
		if _, err := fmt.Fprintln(s.stdout, candidate); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns the completions of the last word, given the words before it.
func candidates(node *kong.Node, words []string) []string {
	before, current := words[:len(words)-1], words[len(words)-1]
	position := 0
	var value *kong.Flag // whose value is the next word
	for _, word := range before {
		switch child := childOf(node, word); {
		case value != nil:
			value = nil
		case strings.HasPrefix(word, "-"):
			value = flagWithValue(node, word)
		case child != nil:
			node = child
		default:
			position++
		}
	}
	var all []string
	switch {
	case value != nil:
		all = valuesOf(value.Value)
	case strings.HasPrefix(current, "-"):
		all = flagNames(node)
	case len(node.Children) > 0:
		all = commandNames(node)
	case position < len(node.Positional):
		all = valuesOf(node.Positional[position])
	}
	return withPrefix(all, current)
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name && !child.Hidden {
			return child
		}
	}
	return nil
}

// flagWithValue returns the flag that word names if its value is the next word, else nil.
func flagWithValue(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			named := word == "--"+flag.Name || flag.Short != 0 && word == "-"+string(flag.Short)
			if named && !flag.IsBool() {
				return flag
			}
		}
	}
	return nil
}

// valuesOf returns the values of a flag or argument with a fixed set of them.
func valuesOf(value *kong.Value) []string {
	switch value.Tag.Get("words") {
	case "settable":
		return strings.Split(joined(settable, ","), ",")
	case "statuses":
		return append(strings.Split(joined(settable, ","), ","), string(api.Offline))
	}
	if value.Enum == "" {
		return nil
	}
	return strings.Split(value.Enum, ",")
}

func flagNames(node *kong.Node) []string {
	var all []string
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			all = append(all, "--"+flag.Name+"\t"+flag.Help)
		}
	}
	return all
}

func commandNames(node *kong.Node) []string {
	var all []string
	for _, child := range node.Children {
		if !child.Hidden {
			all = append(all, child.Name+"\t"+child.Help)
		}
	}
	return all
}

func withPrefix(all []string, prefix string) []string {
	var matching []string
	for _, candidate := range all {
		if strings.HasPrefix(candidate, prefix) {
			matching = append(matching, candidate)
		}
	}
	return matching
}
