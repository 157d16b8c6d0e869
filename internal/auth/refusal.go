package auth

import (
	"porchlight.dev/porchlight/internal/presence"
)

// A RefusalError refuses a token, or a client, that is known. Err is ErrInvalidToken,
// ErrExpiredToken, ErrSuspended or ErrBadClient. What is known is not for the caller, who may be anybody.
type RefusalError struct {
	Account      presence.AccountID
	App          presence.AppID
	User         presence.UserID
	AccountLevel bool
	TokenID      string
	Err          error
}

func (e *RefusalError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RefusalError) Unwrap() error { return e.Err }

func refusal(v *secretValue, err error) error {
	return &RefusalError{Account: v.Account, App: v.App, User: v.User, AccountLevel: v.User == "", TokenID: v.ID, Err: err}
}
