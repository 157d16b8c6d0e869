package auth

import (
	"fmt"
	"slices"
	"strings"
)

// A Scope is one thing that a token may do, in its native spelling as in
// "presence:read". Each exists plain, for the token's own user, and with
// ":admin", for every user of the account.
type Scope uint8

// The native scopes. At least one route requires each of them: see docs/scopes.md.
const (
	PresenceRead Scope = iota
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
	AuditRead
	// ScimWrite is for identity providers: everything of SCIM, for all users.
	ScimWrite
	scopeCount
)

var nativeNames = [scopeCount]string{
	"presence:read", "session:read", "session:write", "claim:read", "claim:write",
	"contact:read", "contact:write", "subscription:read", "subscription:write", "directory:read", "directory:write", "audit:read", "scim:write",
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

// limit is what both s and most allow, under the names of s as far as they apply.
func (t *scopeTable) limit(s, most Scopes) Scopes {
	if s.Within(most) {
		return s
	}
	limited := Scopes{plain: s.plain & most.plain, admin: s.admin & most.admin}
	var names []string
	var named Scopes
	for _, name := range s.Names() {
		if row := t.byName[name]; row.Within(most) {
			names = append(names, name)
			named.plain, named.admin = named.plain|row.plain, named.admin|row.admin
		}
	}
	for _, scope := range AllScopes() {
		switch {
		case limited.HasAdmin(scope) && !named.HasAdmin(scope):
			names = append(names, scope.String()+":admin")
		case limited.Has(scope) && !named.Has(scope):
			names = append(names, scope.String())
		}
	}
	limited.names = strings.Join(names, " ")
	return limited
}

// An Alias is another name for some scopes, in the vocabulary of a dialect.
type Alias struct {
	Name   string
	Scopes []Scope
	Admin  bool // it brings them for every user of the account too
}

// AllScopes is every scope there is.
func AllScopes() []Scope {
	all := make([]Scope, scopeCount)
	for s := range all {
		all[s] = Scope(s)
	}
	return all
}

// A scopeTable has the names that an authority understands.
type scopeTable struct {
	names  []string // native ones first
	byName map[string]Scopes
	// member and admin are what people of these roles may do.
	member, admin Scopes
}

func newScopeTable(aliases []Alias) scopeTable {
	t := scopeTable{byName: make(map[string]Scopes)}
	for s, name := range nativeNames {
		t.add(&Alias{Name: name, Scopes: []Scope{Scope(s)}})
		t.add(&Alias{Name: name + ":admin", Scopes: []Scope{Scope(s)}, Admin: true})
	}
	for i := range aliases {
		t.add(&aliases[i])
	}
	t.member, _ = t.read(memberScopes)
	t.admin, _ = t.read(strings.Join(nativeNames[:], ":admin ") + ":admin")
	return t
}

// add lets a name bring scopes, beside those that it has already.
func (t *scopeTable) add(alias *Alias) {
	brings, known := t.byName[alias.Name]
	if !known {
		t.names = append(t.names, alias.Name)
	}
	for _, s := range alias.Scopes {
		brings.plain |= 1 << s
		if alias.Admin {
			brings.admin |= 1 << s
		}
	}
	t.byName[alias.Name] = brings
}

// ScopeNames lists every name that ParseScopes reads: the native ones, then those
// of dialects.
func (a *Authority) ScopeNames() []string { return slices.Clone(a.scopes.names) }

// A ScopeError names a scope that does not exist.
type ScopeError struct {
	Name  string
	Known []string
}

func (e *ScopeError) Error() string {
	return fmt.Sprintf("unknown scope %q; the scopes are: %s", e.Name, strings.Join(e.Known, " "))
}

// maxShown bounds how much of a client's text an error repeats.
const maxShown = 64

// ParseScopes reads names separated by spaces, native or of a dialect; an unknown
// name is a *ScopeError, which lists what is known. No names are no scopes.
func (a *Authority) ParseScopes(names string) (Scopes, error) {
	s, unknown := a.scopes.read(names)
	if unknown != "" {
		return Scopes{}, &ScopeError{Name: Shorten(unknown), Known: a.scopes.names}
	}
	return s, nil
}

// read passes over unknown names and gives the first of them.
func (t *scopeTable) read(names string) (s Scopes, unknown string) {
	var granted []string
	seen := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		row, ok := t.byName[name]
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

// Shorten is what an error may repeat of text: not much, and no secret.
func Shorten(text string) string {
	text = Redact(text)
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
