package auth

// A Scope is one thing that a token may do, in its native spelling as in
// "presence:read". Each exists plain, for the token's own user, and with
// ":admin", for every user of the account.
type Scope uint8

// The native scopes. ContactRead to SubscriptionWrite are for routes to come.
const (
	PresenceRead Scope = iota
	PresenceWrite
	SessionRead
	SessionWrite
	ClaimRead
	ClaimWrite
	ContactRead
	ContactWrite
	SubscriptionRead
	SubscriptionWrite
	DirectoryRead
	DirectoryWrite
	scopeCount
)

// Scopes is a set of scopes, plain and admin, with the names it was granted
// under. (Filled in by ParseScopes.)
type Scopes struct {
	plain, admin uint32
	names        string // as granted, separated by spaces
}

// Has reports the plain scope, HasAdmin the one for every user.
func (s Scopes) Has(scope Scope) bool      { return s.plain&(1<<scope) != 0 }
func (s Scopes) HasAdmin(scope Scope) bool { return s.admin&(1<<scope) != 0 }

// String is the names as granted, as in an OAuth response.
func (s Scopes) String() string { return s.names }
