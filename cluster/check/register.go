package check

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// A Call is one operation on a value of a user, such as a note, which every writer gives
// another content.
type Call struct {
	User     string
	Client   int
	Span            // from the call to the answer
	Write    string // the value that it writes; "": it reads
	Unknown  bool   // a write that may have been done, or be done later
	Found    string // the value that a read found
	Revision uint64 // in the answer; 0: none
}

// A register is what is known of the value of a user: the value, and a revision that the
// user's record has at least.
type register struct {
	value    string
	revision uint64
}

// step is what one copy of the register would do with a call. Other updates of the user
// raise the revision as well, so a call need not find the last one.
func (r register) step(c *Call) (possible bool, after register) {
	switch {
	case c.Write == "":
		return c.Found == r.value && c.Revision >= r.revision, register{r.value, max(r.revision, c.Revision)}
	case c.Unknown:
		return true, register{c.Write, r.revision + 1}
	default:
		return c.Revision > r.revision, register{c.Write, c.Revision}
	}
}

func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			r, _ := state.(register)
			c, _ := input.(*Call)
			return r.step(c)
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// Linearizable checks that the calls of each user are those of a single copy of the value.
// Reads must be strong ones. within bounds how long the search for an order may take.
func Linearizable(calls []Call, within time.Duration) (found []string) {
	var p problems
	users, groups := byUser(calls, func(c *Call) string { return c.User })
	for _, user := range users {
		own := groups[user]
		switch porcupine.CheckOperationsTimeout(model(), operations(own), within) {
		case porcupine.Ok:
		case porcupine.Unknown:
			p.add("%s: no order of %d calls was found within %v", user, len(own), within)
		case porcupine.Illegal:
			p.add("%s: %d calls are not linearizable", user, len(own))
		}
	}
	return p
}

func operations(calls []Call) (all []porcupine.Operation) {
	began := calls[0].From
	for i := range calls {
		began = earlier(began, calls[i].From)
	}
	for i := range calls {
		c := &calls[i]
		end := int64(c.To.Sub(began))
		if c.Unknown {
			end = math.MaxInt64
		}
		all = append(all, porcupine.Operation{ClientId: c.Client, Input: c, Call: int64(c.From.Sub(began)), Return: end})
	}
	return all
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
