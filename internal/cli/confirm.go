package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// confirmation is the flag of a command whose effect cannot be undone.
type confirmation struct {
	Yes bool `name:"yes" short:"y" help:"Do not ask for confirmation."`
}

// confirm asks on the terminal whether to continue. The text says what would be done,
// such as "remove the user ada@example.com permanently".
func (c *confirmation) confirm(s *shell, format string, args ...any) error {
	if c.Yes {
		return nil
	}
	what := printable(fmt.Sprintf(format, args...))
	if file, ok := s.stdin.(*os.File); !ok || !isTTY(file) {
		return &usageError{fmt.Sprintf("this would %s: add --yes to confirm (the command has no terminal to ask on)", what)}
	}
	if _, err := fmt.Fprintf(s.stderr, "This will %s. Continue? [y/N] ", what); err != nil {
		return err
	}
	answers := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(s.stdin).ReadString('\n') // no answer is a no
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
	case <-s.ctx.Done():
	}
	return errors.New("cancelled: nothing was changed")
}
