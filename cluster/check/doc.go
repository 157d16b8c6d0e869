// Package check examines the histories of tests in which several nodes serve one store:
// what clients called and were answered, and what the log has.
//
// It is separate from the tests that make histories, in one process and in namespaces, so
// that both ask the same questions and that its own tests can show that each check finds
// what it is for. It is pure: every time is an argument.
//
// It guarantees that a check returns a problem for each violation that it finds, in words
// that name the user and the operations, and that a history in which too little happened is
// reported as invalid rather than as correct. Only tests may import it.
package check

import (
	"fmt"
	"slices"
)

// problems collects what a check finds.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// byUser groups items, each in its given order, and returns the users in order.
func byUser[T any](items []T, user func(*T) string) (users []string, groups map[string][]T) {
	groups = make(map[string][]T)
	for i := range items {
		name := user(&items[i])
		if groups[name] == nil {
			users = append(users, name)
		}
		groups[name] = append(groups[name], items[i])
	}
	slices.Sort(users)
	return users, groups
}
