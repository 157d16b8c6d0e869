package wire

import (
	"errors"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
)

// reasons are the words of the audit log for refusals. Requests without a token are not
// among them: nobody tried to get anything.
var reasons = []struct {
	err  error
	word string
}{
	{auth.ErrInvalidToken, "invalid_token"},
	{auth.ErrExpiredToken, "expired_token"},
	{auth.ErrSuspended, "suspended"},
	{auth.ErrBadClient, "client_authentication"},
	{ErrPermission, "not_permitted"},
}

// denialReason is why an error denies access; "": it does not.
func denialReason(err error) string {
	for i := range reasons {
		if errors.Is(err, reasons[i].err) {
			return reasons[i].word
		}
	}
	if _, ok := errors.AsType[*ScopeError](err); ok {
		return "insufficient_scope"
	}
	if _, ok := errors.AsType[*OriginError](err); ok {
		return "other_site"
	}
	if e, ok := errors.AsType[*DenialError](err); ok {
		return e.Reason
	}
	return ""
}

// recordDenial records a refused request in the log of the account, if it is known, or else
// in that of the system.
func (o *Observer) recordDenial(f *Facts, m *Meter) {
	reason := denialReason(f.err)
	if reason == "" || o.Audit == nil {
		return
	}
	e := &audit.Event{Action: "access.deny", Target: "route/" + m.method + " " + m.route, By: Actor(f, f.principal), Denied: true, Reason: reason}
	account := audit.System
	if f.principal != nil {
		account = f.principal.Account
	} else if known, ok := errors.AsType[*auth.RefusalError](f.err); ok {
		account = known.Account
		e.By.App, e.By.User, e.By.Token, e.By.AccountLevel = known.App, known.User, known.TokenID, known.AccountLevel
	}
	o.Audit.Repeated(account, e, audit.EachMinute)
}
