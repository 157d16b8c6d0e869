package auth

import (
	"fmt"
	"strings"
)

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

var nativeNames = [scopeCount]string{
	"presence:read", "presence:write", "session:read", "session:write", "claim:read", "claim:write",
	"contact:read", "contact:write", "subscription:read", "subscription:write", "directory:read", "directory:write",
}

// String is the native spelling, as in "presence:read".
func (s Scope) String() string {
	if s >= scopeCount {
		return fmt.Sprintf("scope(%d)", uint8(s))
	}
	return nativeNames[s]
}

// A scopeSet is a set of scopes, a bit for each.
type scopeSet uint32

func setOf(scopes ...Scope) scopeSet {
	var set scopeSet
	for _, s := range scopes {
		set |= 1 << s
	}
	return set
}

// Scopes is a set of scopes, plain and admin, with the names it was granted
// under. A name with ":admin" brings the plain scope too. ParseScopes makes one.
type Scopes struct {
	plain, admin scopeSet
	names        string // as granted, each once, separated by one space
}

// Has reports the plain scope, HasAdmin the one for every user.
func (s Scopes) Has(scope Scope) bool      { return s.plain&(1<<scope) != 0 }
func (s Scopes) HasAdmin(scope Scope) bool { return s.admin&(1<<scope) != 0 }

// String is the names as granted, as in an OAuth response.
func (s Scopes) String() string { return s.names }

// Names is the names as granted.
func (s Scopes) Names() []string { return strings.Fields(s.names) }

// Within reports whether all that s allows is allowed by o.
func (s Scopes) Within(o Scopes) bool {
	return s.plain&^o.plain == 0 && s.admin&^o.admin == 0
}

// A scopeName is what one name brings.
type scopeName struct {
	name         string
	plain, admin scopeSet
}

// zoomNames are Zoom's names, granular before classic.
var zoomNames = []scopeName{
	plain("user:update:presence_status", ClaimWrite),
	admin("user:update:presence_status:admin", ClaimWrite),
	plain("user:read:presence_status", PresenceRead),
	admin("user:read:presence_status:admin", PresenceRead),
	admin("user:read:presence_status:master", PresenceRead),
	plain("user:read:user", DirectoryRead),
	admin("user:read:user:admin", DirectoryRead),
	admin("user:read:list_users:admin", DirectoryRead),
	admin("user:write:user:admin", DirectoryWrite),
	plain("user:update:user", DirectoryWrite),
	admin("user:update:user:admin", DirectoryWrite),
	admin("user:update:status:admin", DirectoryWrite),
	admin("user:delete:user:admin", DirectoryWrite),
	plain("contact:read:list_contacts", ContactRead, PresenceRead),
	admin("contact:read:list_contacts:admin", ContactRead, PresenceRead),
	plain("team_chat:read:list_contacts", ContactRead, PresenceRead),
	plain("team_chat:read:contact", ContactRead, PresenceRead),

	plain("user:read", PresenceRead, DirectoryRead),
	admin("user:read:admin", PresenceRead, DirectoryRead),
	plain("user:write", ClaimWrite),
	admin("user:write:admin", ClaimWrite, DirectoryWrite),
	admin("user:master", PresenceRead),
	plain("contact:read", ContactRead, PresenceRead), // also native
	admin("contact:read:admin", ContactRead, PresenceRead),
	plain("chat_contact:read", ContactRead, PresenceRead),
}

func plain(name string, scopes ...Scope) scopeName {
	return scopeName{name: name, plain: setOf(scopes...)}
}

func admin(name string, scopes ...Scope) scopeName {
	return scopeName{name: name, plain: setOf(scopes...), admin: setOf(scopes...)}
}

// scopeNames is every name, native ones first; scopesByName finds them.
var scopeNames, scopesByName = tabulate()

func tabulate() ([]string, map[string]scopeName) {
	var rows []scopeName
	for s, name := range nativeNames {
		rows = append(rows, plain(name, Scope(s)), admin(name+":admin", Scope(s)))
	}
	rows = append(rows, zoomNames...)
	names, byName := make([]string, 0, len(rows)), make(map[string]scopeName, len(rows))
	for _, row := range rows {
		if _, again := byName[row.name]; !again {
			names = append(names, row.name)
		}
		had := byName[row.name]
		byName[row.name] = scopeName{row.name, had.plain | row.plain, had.admin | row.admin}
	}
	return names, byName
}

// ScopeNames lists every name that ParseScopes reads: the native ones, then
// Zoom's.
func ScopeNames() []string { return append([]string(nil), scopeNames...) }

// A ScopeError names a scope that does not exist.
type ScopeError struct{ Name string }

func (e *ScopeError) Error() string {
	return fmt.Sprintf("unknown scope %q; the scopes are: %s", e.Name, strings.Join(scopeNames, " "))
}

// maxShown is the most of somebody's text that an error repeats.
const maxShown = 64

// ParseScopes reads names separated by spaces, native or Zoom's (classic and
// granular); an unknown name is a *ScopeError, which lists what is known. No
// names are no scopes.
func ParseScopes(names string) (Scopes, error) {
	s, unknown := readScopes(names)
	if unknown != "" {
		return Scopes{}, &ScopeError{Name: shorten(unknown)}
	}
	return s, nil
}

// readScopes passes over unknown names and gives the first of them.
func readScopes(names string) (s Scopes, unknown string) {
	var granted []string
	seen := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		row, ok := scopesByName[name]
		switch {
		case !ok && unknown == "":
			unknown = name
		case ok && !seen[name]:
			seen[name] = true
			granted = append(granted, name)
			s.plain |= row.plain
			s.admin |= row.admin
		}
	}
	s.names = strings.Join(granted, " ")
	return s, unknown
}

// shorten is what an error may repeat of text: not much, and no secret.
func shorten(text string) string {
	text = Redact(text)
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
