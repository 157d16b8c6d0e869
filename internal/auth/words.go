package auth

// Words say what a scope allows to somebody who is asked to allow it.
type scopeWords struct{ own, all string }

// words has every scope: what its plain form allows, and what its :admin form allows.
var words = [scopeCount]scopeWords{
	PresenceRead:      {"See the status of the people whose status you can see", "See everybody's status, even where people hide it"},
	SessionRead:       {"See where you are signed in", "See where everybody is signed in"},
	SessionWrite:      {"Sign you in and out, and report whether you are active", "Sign everybody in and out, and report whether they are active"},
	ClaimRead:         {"See what makes your status what it is", "See what makes everybody's status what it is"},
	ClaimWrite:        {"Change your status and your note", "Change everybody's status and note"},
	ContactRead:       {"See your contacts and who may see your status", "See everybody's contacts and who may see their status"},
	ContactWrite:      {"Change your contacts and who may see your status", "Change everybody's contacts and who may see their status"},
	SubscriptionRead:  {"See which systems are sent your changes", "See which systems are sent the changes of the account"},
	SubscriptionWrite: {"Have changes of your status sent to other systems", "Have everybody's changes sent to other systems"},
	DirectoryRead:     {"See your name, your e-mail address and the account", "See the names and e-mail addresses of all users, the apps and the account"},
	DirectoryWrite:    {"Change your name, and make and end access tokens for you", "Add, change and delete users, apps and access tokens"},
	AuditRead:         {"See the record of your changes", "See the record of all administrative changes"},
	ScimWrite:         {"Manage your entry from an identity provider", "Add, change and delete users and groups from an identity provider"},
}

// Describe says in words what scopes allow, a line for each. :admin includes plain.
func Describe(s Scopes) []string {
	lines := make([]string, 0, scopeCount)
	for _, scope := range AllScopes() {
		switch {
		case s.HasAdmin(scope):
			lines = append(lines, words[scope].all)
		case s.Has(scope):
			lines = append(lines, words[scope].own)
		}
	}
	return lines
}
