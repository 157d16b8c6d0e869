package auth

// Words say what a scope allows to somebody who is asked to allow it.
type scopeWords struct{ own, all string }

// words has every scope: what its plain form allows, and what its :admin form allows.
var words = [scopeCount]scopeWords{
	PresenceRead:      {"See the status of everybody whose status you can see", "See everybody's status, even if they hide it"},
	SessionRead:       {"See on which devices you are online", "See on which devices everybody is online"},
	SessionWrite:      {"Show you as online, active or idle, and end that", "Show anybody as online, active or idle, and end that"},
	ClaimRead:         {"See why your status is what it is", "See why everybody's status is what it is"},
	ClaimWrite:        {"Change your status and your note", "Change everybody's status and note"},
	ContactRead:       {"See your contacts and who may see your status", "See everybody's contacts and who may see their status"},
	ContactWrite:      {"Change your contacts and who may see your status", "Change everybody's contacts and who may see their status"},
	SubscriptionRead:  {"See which systems receive changes of your status", "See which systems receive changes in the account"},
	SubscriptionWrite: {"Send changes of your status to other systems", "Send everybody's changes to other systems"},
	DirectoryRead:     {"See your name, your e-mail address and the account", "See the names and e-mail addresses of all users, the apps and the account"},
	DirectoryWrite:    {"Change your name and password, sign you out, and create and revoke your access tokens", "Add, change and delete users, apps and access tokens"},
	AuditRead:         {"Read the audit log of your own actions", "Read the audit log of the account"},
	ScimWrite:         {"Manage your user from an identity provider", "Add, change and delete users and groups from an identity provider"},
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
