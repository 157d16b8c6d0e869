package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
)

// A hint is the text for a kind of problem in terms of the command line. The problem's
// own texts are for programs that call the API.
type hint struct {
	text   string // "" means the problem's detail
	action string
}

// olderServer is the hint for problems that this command causes only at a server of
// another version.
var olderServer = hint{"The server did not understand the request.", "Use the same version of porchlight as the server: compare \"porchlight version\" on both machines."}

var hints = map[*api.Kind]hint{
	&api.Malformed:            olderServer,
	&api.InvalidField:         {},
	&api.CursorInvalid:        {"The list changed while it was read.", "Repeat the command."},
	&api.NoToken:              {"The server received no access token.", "If there is a proxy in front of the server, it must forward the credentials."},
	&api.InvalidToken:         {"", "Create another token with \"porchlight token create\". This one is unknown or was revoked, its app was removed, or its user was deactivated or removed."},
	&api.SystemTokenRequired:  {"", "Use a system token: see \"porchlight system token create --help\"."},
	&api.InvalidTicket:        olderServer,
	&api.ExpiredToken:         {"", "Get a new token with \"porchlight token create\"."},
	&api.AccountSuspended:     {"The account is suspended.", "Ask the operator of the server: \"porchlight system account resume\" lets it work again."},
	&api.TokenInQuery:         {"The URL of the server contains an access token.", "Set the token with PORCHLIGHT_TOKEN instead. Revoke this token, because URLs end up in logs."},
	&api.InsufficientScope:    {"", "Use a token that has it: see \"porchlight whoami\" and \"porchlight token create --help\"."},
	&api.Forbidden:            {"", "Omit the user to act for yourself, or use a token with the :admin form of the scope: see \"porchlight whoami\"."},
	&api.Escalation:           {"You may not create or change these credentials.", "Choose scopes that your token has (\"porchlight whoami\" lists them). To create a token for another user, or an app, you need their :admin form."},
	&api.HistoryOff:           {"", "An administrator can switch it on: \"porchlight account history all\"."},
	&api.OriginRefused:        olderServer,
	&api.NoRoute:              olderServer,
	&api.NoUser:               {"", "Check the id or e-mail address. \"porchlight user list\" lists the users."},
	&api.NoErasure:            {"", "Use the id of the removed user. An erasure is on record until 30 days after it was done."},
	&api.NoDeletion:           {"", "Check the id of the account. \"porchlight system account list\" lists those that exist."},
	&api.NotInHistory:         {"", "Choose a later time. \"porchlight status history\" shows what the history has."},
	&api.NoSession:            {"The session does not exist or has ended.", "\"porchlight session list\" lists a user's sessions."},
	&api.SessionReplaced:      {"A newer session of the same app replaced this one.", "Stop the other client before you sign in again."},
	&api.NoClaim:              {"No status is set.", ""},
	&api.NoContact:            {"", "\"porchlight contact list\" lists the contacts."},
	&api.NoWatch:              {"", "The watch was delivered, has expired, was cancelled, or belongs to another user. \"porchlight watch list\" lists your watches."},
	&api.NoSubscription:       {"", "Check the id. \"porchlight subscription list\" lists the subscriptions."},
	&api.NoSignageLink:        {"", "Check the link. Administrators manage these links on the board."},
	&api.NoApp:                {"", "Check the client id. \"porchlight app list\" lists the apps."},
	&api.NoTokenID:            {"", "Check the id. \"porchlight token list\" lists the tokens. The token may have expired or been revoked."},
	&api.NoAccount:            {"", "Ask the server's operator."},
	&api.MethodNotAllowed:     olderServer,
	&api.Conflict:             {"Somebody else changed the same object at the same time.", "Repeat the command."},
	&api.EmailTaken:           {"", "Use another address. \"porchlight user list\" shows who has this one."},
	&api.LimitReached:         {"", "Remove what is no longer needed, then repeat the command."},
	&api.SubscriptionState:    {"", ""},
	&api.EndpointRefused:      {"", "Make the endpoint answer as docs/webhooks.md describes, then repeat the command. If it verifies signatures already, create the subscription with its secret: --secret-file or --app-secret. To receive events on a machine that the server cannot reach, use \"porchlight listen\"."},
	&api.ExternalIDTaken:      {"Another user has this external id.", "Use another one, or change the other user first."},
	&api.NoGroup:              {"The group does not exist.", "\"porchlight group list\" lists them."},
	&api.GroupTaken:           {"Another group has this name.", "\"porchlight group list\" lists them."},
	&api.PublicApp:            {"The app is public and has no secret.", "Make it confidential first: \"porchlight app update CLIENT_ID --no-public\"."},
	&api.OwnerKept:            {"The user owns the account.", "Make another user the owner first: \"porchlight account owner\"."},
	&api.Transition:           {"", "Choose another status, or update the user's client."},
	&api.Deactivated:          {"", "Reactivate the user first: \"porchlight user activate\"."},
	&api.SignedOut:            {"", "Start a session first: let the user open the server's page /me, or run \"porchlight session keep\"."},
	&api.BadAuthorization:     olderServer,
	&api.SignInExpired:        {"", "Start again on the server's page /signin."},
	&api.SignInAccount:        {"", "Check the e-mail address, the password and the account."},
	&api.SignInRefused:        {"", "Check the e-mail address and the password."},
	&api.SignInRequired:       {"", "Sign in on the server's page /signin. An access token is not enough for this."},
	&api.SignInThrottled:      {},
	&api.IdentityRefused:      {"", "Ask an administrator to add you with \"porchlight user add\"."},
	&api.PasswordsOff:         {"The server does not accept passwords.", "Let the user sign in through the OpenID provider, on the server's page /signin."},
	&api.ProviderDown:         {"", "Try again in a few minutes. The server's log has the cause."},
	&api.NoInvitation:         {"", "Create a new link with \"porchlight user invite\"."},
	&api.InvitationUsed:       {"", "Create a new link with \"porchlight user invite\"."},
	&api.InvitationExpired:    {"", "Create a new link with \"porchlight user invite\"."},
	&api.NoSignIn:             {"", "The sign-in has already ended. \"porchlight user sign-ins\" lists a user's sign-ins."},
	&api.NoGrant:              {"The user has not given this app access.", ""},
	&api.NoUserCode:           {"", "Check the code that the device shows. If it has expired, start again on the device."},
	&api.PreconditionFailed:   {"Somebody else changed the same object at the same time.", "Repeat the command."},
	&api.BodyTooLarge:         {"The request is too large for the server.", "Use fewer or shorter values."},
	&api.UnsupportedMediaType: olderServer,
	&api.HostRefused:          {"", "Use one of the server's URLs. Otherwise ask the server's operator to set public-url to this URL, or to add the host name to allowed-hosts."},
	&api.KeyReused:            olderServer,
	&api.QuotaExceeded:        {},
	&api.RateLimited:          {},
	&api.TooSoon:              {},
	&api.Internal:             {"The server had an internal error.", ""},
	&api.OutcomeUnknown:       {"The change may or may not have been made.", "Check before you repeat the command."},
	&api.Overloaded:           {},
	&api.Unavailable:          {},
	&api.DiskFull:             {"The server's disk is almost full.", "Nothing was changed. The server's operator must free disk space. Reads still work."},
}

// hintFor returns the text for a problem and what to do about it. param returns the flag
// or argument for a field of the request.
func hintFor(p *api.Problem, param func(field string) string) (text, action string) {
	text, action = p.Detail, p.WhatToDo
	for kind, hint := range hints {
		if !p.Is(kind) {
			continue
		}
		action = hint.action
		if hint.text != "" {
			text = hint.text
		}
	}
	switch {
	case p.Is(&api.InvalidField):
		text = fieldText(p, param)
	case p.Is(&api.Internal):
		action = fmt.Sprintf("Try again later. If the problem persists, give the request id %s to the server's operator, who can find it in the server's log.", p.Instance)
	case p.RetryAfter > 0 && action == "":
		action = "Repeat the command in " + config.FormatDuration(time.Duration(p.RetryAfter)*time.Second) + "."
	}
	if p.Setting != "" {
		action += fmt.Sprintf(" If this happens often, the server's operator can raise the setting %s.", p.Setting)
	}
	return text, action
}

// fieldText returns the detail of an invalid field, with the flag or argument for the
// field.
func fieldText(p *api.Problem, param func(field string) string) string {
	reason, ok := strings.CutPrefix(p.Detail, fmt.Sprintf("The field %q ", p.Field))
	if !ok {
		return p.Detail
	}
	if strings.HasSuffix(p.Field, "_seconds") {
		reason = inDurations(reason)
	}
	return param(p.Field) + " " + reason
}

var secondCount = regexp.MustCompile(`\b(\d+)(?: \([^)]*\))?( minutes?\b| days?\b)?`)

// inDurations replaces the numbers in a text, which are seconds unless a unit follows, by
// durations.
func inDurations(text string) string {
	return secondCount.ReplaceAllStringFunc(text, func(number string) string {
		parts := secondCount.FindStringSubmatch(number)
		seconds, err := strconv.Atoi(parts[1])
		if err != nil || parts[2] != "" {
			return number
		}
		return config.FormatDuration(time.Duration(seconds) * time.Second)
	})
}

// parameters maps a field of the API to the flags and arguments that set it.
var parameters = map[string][]string{
	"account": {"account"}, "app": {"app"}, "at": {"at"}, "client_type": {"client-type"}, "concurrency": {"concurrency"}, "contact": {"contact"}, "department": {"department"},
	"display_name": {"name"}, "duration_seconds": {"for"}, "email": {"email"}, "event": {"event"}, "events": {"events"},
	"expires_in_seconds": {"expires", "for"}, "first_name": {"name"}, "form": {"form"}, "from": {"from"},
	"group": {"group"}, "groups": {"group"}, "history_days": {"shows"}, "last_name": {"name"}, "lease_seconds": {"lease"}, "name": {"name"},
	"authentication": {"auth"}, "note": {"note"}, "overlap_seconds": {"overlap"}, "profile": {"retry-profile"}, "scopes": {"scope"}, "secret": {"secret-file"},
	"status": {"status"}, "to": {"to"}, "until": {"until"}, "until_status": {"until"}, "url": {"endpoint", "url"}, "user": {"user"}, "users": {"user"},
	"watchers": {"watcher"}, "zone": {"zone"},
}

// param returns the flag or argument of the command for a field of the API.
func (s *shell) param(field string) string {
	name, _, _ := strings.Cut(field, "[")
	for _, name := range parameters[name] {
		for _, argument := range s.command.Positional {
			if argument.Name == name {
				return "<" + name + ">"
			}
		}
		for _, group := range s.command.AllFlags(true) {
			for _, flag := range group {
				if flag.Name == name {
					return "--" + name
				}
			}
		}
	}
	return strings.ReplaceAll(name, "_", " ")
}
