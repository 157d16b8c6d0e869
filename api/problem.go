package api

import "strings"

// ProblemBase is the prefix of a problem's type; the rest is a Kind's slug. The
// server serves a page at this path that explains the problem.
const ProblemBase = "/docs/problems/"

// Problem is an error as application/problem+json (RFC 9457).
type Problem struct {
	Type     string `json:"type"`  // ProblemBase and the slug
	Title    string `json:"title"` // the same for all problems of a kind
	Status   int    `json:"status"`
	Detail   string `json:"detail"`   // of this occurrence
	Instance string `json:"instance"` // the request's id, as in X-Request-Id and the logs
	WhatToDo string `json:"what_to_do"`

	Field      string   `json:"field,omitempty"`       // of the body or the query that is invalid
	RetryAfter int      `json:"retry_after,omitempty"` // seconds, as in the header
	Limit      int      `json:"limit,omitempty"`       // the value of the limit that was reached
	LimitName  string   `json:"limit_name,omitempty"`  // of a limit that the operator can set
	Setting    string   `json:"setting,omitempty"`     // that sets the limit
	Scopes     []string `json:"scopes,omitempty"`      // any one of them is sufficient
	Allow      []string `json:"allow,omitempty"`       // methods of the path
}

// Error implements error.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// Is lets errors.Is match a problem by its kind, as in errors.Is(err, &NoUser).
func (p *Problem) Is(target error) bool {
	k, ok := target.(*Kind)
	return ok && strings.HasSuffix(p.Type, k.Type())
}

// As lets errors.As extract the problem's kind.
func (p *Problem) As(target any) bool {
	to, ok := target.(**Kind)
	if !ok {
		return false
	}
	for _, k := range Kinds() {
		if p.Is(k) {
			*to = k
			return true
		}
	}
	return false
}

// Kind is one kind of problem: what all problems of the kind share.
type Kind struct {
	Slug     string
	Title    string
	Status   int
	WhatToDo string
}

// Error makes a kind a target of errors.Is and errors.As.
func (k *Kind) Error() string { return k.Title }

// Type is the problem's type on the wire.
func (k *Kind) Type() string { return ProblemBase + k.Slug }

// The kinds. Slugs are part of the API.
var (
	Malformed = Kind{
		"malformed", "The request is malformed", 400,
		"Send one JSON object in UTF-8 as the body, and the headers and query parameters that the route documents.",
	}
	BadAuthorization = Kind{
		"bad-authorization", "The authorization request is invalid", 400,
		"Go back to the app and try again. If the problem persists, tell the app's developers that client_id and redirect_uri must be those of an app in your account.",
	}
	InvalidField = Kind{
		"invalid-field", "A field has an invalid value", 400,
		"Change the named field as the detail says.",
	}
	SignInExpired = Kind{
		"sign-in-expired", "The sign-in cannot be completed", 400,
		"Start again at /signin. A sign-in through a provider must be completed in the same browser within ten minutes.",
	}
	CursorInvalid = Kind{
		"cursor-invalid", "The cursor or page token is invalid", 400,
		"Start again without it: the first response has a new one.",
	}

	NoToken = Kind{
		"no-token", "The request has no access token", 401,
		"Send the header \"Authorization: Bearer <token>\". Get a token from POST /oauth/token, POST /v1/tokens or `porchlight token create`.",
	}
	InvalidToken = Kind{
		"invalid-token", "The access token is not valid", 401,
		"Get a new token. This one is unknown or revoked, its app was deleted, or its user was deactivated or deleted.",
	}
	SystemTokenRequired = Kind{
		"system-token-required", "A system token is required", 401,
		"Use a system token. The operator of the server creates it with `porchlight system token create`. This token is of another kind, unknown, expired or revoked.",
	}
	InvalidTicket = Kind{
		"invalid-ticket", "The ticket cannot be used", 401,
		"Get another ticket with POST /v1/tickets. A ticket opens one stream, once, within 30 seconds.",
	}
	ExpiredToken = Kind{
		"expired-token", "The access token has expired", 401,
		"Get a new token and send the request again.",
	}
	SignInRefused = Kind{
		"sign-in-refused", "The sign-in was refused", 401,
		"Check the e-mail address and the password. If the server has several accounts, name yours. If you forgot the password, an administrator can create a link with which you choose a new one.",
	}
	SignInAccount = Kind{
		"sign-in-account", "The sign-in was refused, and no account was named", 401,
		"Check the e-mail address and the password. The server has several accounts: if more than one may have the address, name yours in the field account.",
	}
	TokenInQuery = Kind{
		"token-in-query", "The access token is in the URL", 401,
		"Send the token in the Authorization header. Revoke this token, because URLs end up in logs.",
	}

	AccountSuspended = Kind{
		"account-suspended", "The account is suspended", 403,
		"Contact the operator of the server. Users, apps and tokens are kept, and work again when the account is resumed.",
	}

	InsufficientScope = Kind{
		"insufficient-scope", "The token lacks a scope", 403,
		"Use a token with one of the listed scopes. Scopes that end in :admin also cover other users' objects. The page /help/scopes lists what each scope allows.",
	}
	Forbidden = Kind{
		"forbidden", "The token does not allow this for that user", 403,
		"Act for the token's own user (\"me\"), or use a token with the :admin form of the scope.",
	}
	Escalation = Kind{
		"escalation", "The caller may not create or change this credential", 403,
		"Request only scopes that the caller's token has. For a credential that is not for the caller's own user, the caller needs their :admin form. An app that acts for a person creates none.",
	}

	IdentityRefused = Kind{
		"identity-refused", "You are not allowed to sign in here", 403,
		"Ask an administrator to add you, or sign in to the provider as another person.",
	}
	SignInRequired = Kind{
		"sign-in-required", "This requires a person who signed in with a browser", 403,
		"Sign in at /signin. An access token is not enough: with it, an app could grant itself more access.",
	}
	PasswordsOff = Kind{
		"passwords-off", "The server does not accept passwords", 403,
		"Sign in through the OpenID provider, with the button on the page /signin.",
	}
	HistoryOff = Kind{
		"history-off", "The account shows no history", 403,
		"An administrator can turn it on: PATCH /v1/account with {\"history_days\":3650}.",
	}

	OriginRefused = Kind{
		"origin-not-allowed", "Pages from this origin are not allowed to call the server", 403,
		"Open the page at the server's own URL. Otherwise ask the operator to set public-url to the URL in use, or to add the page's origin to cors-origins.",
	}

	NoRoute = Kind{
		"no-route", "No route matches this path", 404,
		"Check the path; GET /docs lists every route.",
	}
	NoUser = Kind{
		"user-not-found", "The user does not exist in this account", 404,
		"Check the id or e-mail address. GET /v1/users lists the users.",
	}
	NoErasure = Kind{
		"erasure-not-found", "No erasure of the user is on record", 404,
		"Use the id of the deleted user. An erasure is on record until 30 days after it was done. DELETE /v1/users/{user}?erase=true requests one.",
	}
	NoDeletion = Kind{
		"deletion-not-found", "No deletion of the account is on record", 404,
		"Use the id of the deleted account. DELETE /v1/system/accounts/{account} deletes one.",
	}
	NotInHistory = Kind{
		"not-in-history", "The history has nothing about that time", 404,
		"Ask for a later time. GET /v1/users/{user}/history lists what the history has.",
	}
	NoSession = Kind{
		"session-not-found", "The session does not exist or has ended", 404,
		"Sign in again. The session has ended, or its id is not one of this account.",
	}
	SessionReplaced = Kind{
		"session-replaced", "A newer session of the same app replaced this one", 404,
		"Do not sign in again automatically, or two clients will replace each other's sessions forever. Let the user decide. An app can have at most 32 sessions of a user at a time.",
	}
	NoClaim = Kind{
		"claim-not-found", "The claim does not exist or has ended", 404,
		"No action is needed: the claim has already ended or was never made.",
	}
	NoGroup = Kind{
		"group-not-found", "The group does not exist", 404,
		"GET /v1/groups lists the groups with their ids.",
	}
	NoContact = Kind{
		"contact-not-found", "The contact does not exist", 404,
		"No action is needed to remove it. GET /v1/users/{user}/contacts lists the contacts.",
	}
	NoWatch = Kind{
		"watch-not-found", "The watch does not exist", 404,
		"No action is needed to delete it: the watch was delivered, has expired, was deleted, or belongs to another user. GET /v1/watches lists your watches.",
	}
	NoSubscription = Kind{
		"subscription-not-found", "The subscription does not exist", 404,
		"Check the id. GET /v1/subscriptions lists the subscriptions that the token may read.",
	}
	NoApp = Kind{
		"app-not-found", "The app does not exist in this account", 404,
		"Check the id. GET /v1/apps lists the apps.",
	}
	NoTokenID = Kind{
		"token-not-found", "The token does not exist", 404,
		"Check the id. GET /v1/tokens lists the tokens. The token may have expired or been revoked.",
	}
	NoSignIn = Kind{
		"sign-in-not-found", "The sign-in does not exist", 404,
		"No action is needed if you wanted to end it: it has already ended. GET /v1/sign-ins lists your sign-ins.",
	}
	NoInvitation = Kind{
		"invitation-not-found", "The link is unknown", 404,
		"Check that the link is complete. If it is, ask an administrator for a new one.",
	}
	NoGrant = Kind{
		"grant-not-found", "The user has not given this app access", 404,
		"No action is needed to revoke it. GET /v1/grants lists the apps that have access.",
	}
	NoUserCode = Kind{
		"user-code-not-found", "No device is waiting for this code", 404,
		"Check the code that the device shows. It works once, for 15 minutes. If it has expired, start again on the device.",
	}
	NoSignageLink = Kind{
		"signage-link-not-found", "There is no such signage link", 404,
		"Ask an administrator for a new link. GET /v1/signage-links lists the links that were not revoked.",
	}
	NoAccount = Kind{
		"account-not-found", "The account no longer exists", 404,
		"Contact the server's operator.",
	}

	MethodNotAllowed = Kind{
		"method-not-allowed", "The path does not support this method", 405,
		"Use one of the listed methods.",
	}

	EmailTaken = Kind{
		"email-taken", "The e-mail address belongs to another user", 409,
		"Use another address, or change the address of the user who has it.",
	}
	Conflict = Kind{
		"conflict", "A concurrent request changed the same object", 409,
		"Read the object again and repeat the change.",
	}
	Deactivated = Kind{
		"user-deactivated", "The user is deactivated", 409,
		"Reactivate the user first: PATCH /v1/users/{user} with {\"active\":true}.",
	}
	SignedOut = Kind{
		"user-signed-out", "The user is not signed in", 409,
		"Start a session for the user first: POST /v1/users/{user}/sessions, or let the user open the page /me.",
	}
	Transition = Kind{
		"transition-not-allowed", "The user's client is too old for this change", 409,
		"Choose a status that the client supports, or update the client.",
	}
	SubscriptionState = Kind{
		"subscription-state", "The state of the subscription does not allow this", 409,
		"Read the subscription. If it is disabled, enable it. If it is paused, resume it. If it has no URL, set one, or connect a client. If the secret of its app signs it, rotate that. If a replay has not ended, wait.",
	}
	LimitReached = Kind{
		"limit-reached", "A limit is reached", 409,
		"Remove what is no longer needed, then repeat the request.",
	}
	OwnerKept = Kind{
		"owner-kept", "The account's owner cannot be deactivated or deleted", 409,
		"Make another user the owner first.",
	}

	ExternalIDTaken = Kind{
		"external-id-taken", "The external id belongs to another user", 409,
		"Use another external id, or first change or delete the user who has this one.",
	}
	GroupTaken = Kind{
		"group-taken", "The name belongs to another group", 409,
		"Use another name. Upper and lower case are not distinguished. GET /v1/groups?name= finds the group that has this name.",
	}
	PublicApp = Kind{
		"public-app", "A public app has no secret", 409,
		"A public app authenticates with PKCE instead. To give it a secret, first set \"public\" to false: PATCH /v1/apps/{app}.",
	}

	InvitationUsed = Kind{
		"invitation-used", "The link was already used or replaced", 410,
		"Sign in with the password that you chose, open the newest link, or ask an administrator for another one.",
	}
	InvitationExpired = Kind{
		"invitation-expired", "The link has expired", 410,
		"Ask an administrator for another link.",
	}
	PreconditionFailed = Kind{
		"precondition-failed", "The condition in If-Match or If-None-Match is not met", 412,
		"Read the object again, reapply your change, and send the new ETag in If-Match. If you sent `If-None-Match: *`, the object already exists.",
	}
	BodyTooLarge = Kind{
		"body-too-large", "The request body is too large", 413,
		"Send a smaller body. The limit is 65536 bytes, 1048576 for a presence query or a batch of refreshes, and 67108864 for an import of users.",
	}
	UnsupportedMediaType = Kind{
		"unsupported-media-type", "The body has an unsupported media type", 415,
		"Send \"Content-Type: application/json\" and an uncompressed body.",
	}
	HostRefused = Kind{
		"host-not-allowed", "The server does not answer under this host name", 421,
		"Use one of the server's URLs. Otherwise ask the operator to set public-url to this URL, or to add the host name to allowed-hosts.",
	}
	EndpointRefused = Kind{
		"endpoint-not-validated", "The endpoint did not prove that it wants events", 422,
		"Make the endpoint answer the challenge of the subscription's form, then repeat the request. The detail says what was sent and what came back.",
	}
	KeyReused = Kind{
		"idempotency-key-reused", "The Idempotency-Key was used for another request", 422,
		"Use a new key for each new request. Reuse a key only to repeat the same request.",
	}

	TooSoon = Kind{
		"too-soon", "The user was updated less than a minute ago", 429,
		"Wait for the number of seconds in Retry-After, then repeat the request.",
	}
	RateLimited = Kind{
		"rate-limited", "The account's rate limit is reached", 429,
		"Wait for the number of seconds in Retry-After, then repeat the request.",
	}

	SignInThrottled = Kind{
		"sign-in-throttled", "Too many attempts to sign in failed", 429,
		"Wait for the number of seconds in Retry-After, then try again. If you forgot the password, an administrator can create a link with which you choose a new one immediately.",
	}
	QuotaExceeded = Kind{
		"quota-exceeded", "A limit on an address, user, app or account is reached", 429,
		"Wait for the number of seconds in Retry-After, then repeat the request. Close streams and connections that you do not need. If the limit is too low, the server's operator can change the named setting.",
	}

	Internal = Kind{
		"internal", "The server failed", 500,
		"Try again later. If the problem persists, give the instance to the server's operator, who can find it in the server's log.",
	}
	OutcomeUnknown = Kind{
		"outcome-unknown", "The outcome of the change is unknown", 503,
		"Repeat the request with the same Idempotency-Key: it will not be carried out twice.",
	}
	Unavailable = Kind{
		"unavailable", "The server is temporarily unavailable", 503,
		"Wait for the number of seconds in Retry-After, then repeat the request.",
	}
	ProviderDown = Kind{
		"provider-down", "The OpenID provider cannot be reached", 503,
		"Try again in a few minutes, or sign in with a password at /signin. The server's log has the cause.",
	}
	Overloaded = Kind{
		"overloaded", "The server has reached a limit that all clients share", 503,
		"Wait for the number of seconds in Retry-After, then try again. If this happens often, the server's operator can raise the named setting.",
	}
	DiskFull = Kind{
		"disk-full", "The server's disk is almost full", 507,
		"Nothing was changed. The server's operator must free disk space. Reads still work.",
	}
)

// Kinds is the catalogue: every kind of problem, by status and slug.
func Kinds() []*Kind {
	return []*Kind{
		&BadAuthorization, &CursorInvalid, &InvalidField, &Malformed, &SignInExpired,
		&ExpiredToken, &InvalidTicket, &InvalidToken, &NoToken, &SignInAccount, &SignInRefused, &SystemTokenRequired, &TokenInQuery,
		&AccountSuspended, &Escalation, &Forbidden, &HistoryOff, &IdentityRefused, &InsufficientScope, &OriginRefused, &SignInRequired, &PasswordsOff,
		&NoAccount, &NoApp, &NoClaim, &NoContact, &NoDeletion, &NoErasure, &NoGrant, &NoGroup, &NoInvitation, &NotInHistory, &NoRoute, &NoSession, &SessionReplaced, &NoSignageLink, &NoSignIn, &NoSubscription, &NoTokenID, &NoUser, &NoUserCode, &NoWatch,
		&MethodNotAllowed,
		&Conflict, &EmailTaken, &ExternalIDTaken, &GroupTaken, &LimitReached, &OwnerKept, &PublicApp, &SubscriptionState, &Transition, &Deactivated, &SignedOut,
		&InvitationExpired, &InvitationUsed,
		&PreconditionFailed, &BodyTooLarge, &UnsupportedMediaType, &HostRefused, &EndpointRefused, &KeyReused,
		&QuotaExceeded, &RateLimited, &SignInThrottled, &TooSoon,
		&Internal, &OutcomeUnknown, &Overloaded, &ProviderDown, &Unavailable, &DiskFull,
	}
}
