package api

import "strings"

// ProblemBase is what the type of a problem begins with; the rest is a Kind's
// slug. The server answers a GET of it with a page that explains the problem.
const ProblemBase = "/docs/problems/"

// Problem is an error as application/problem+json (RFC 9457).
type Problem struct {
	Type     string `json:"type"`  // ProblemBase and the slug
	Title    string `json:"title"` // the same for each occurrence
	Status   int    `json:"status"`
	Detail   string `json:"detail"`   // of this occurrence
	Instance string `json:"instance"` // the request's id, as in X-Request-Id and the logs
	WhatToDo string `json:"what_to_do"`

	Field      string   `json:"field,omitempty"`       // of the body or the query that is wrong
	RetryAfter int      `json:"retry_after,omitempty"` // seconds, as in the header
	Limit      int      `json:"limit,omitempty"`       // that was reached
	LimitName  string   `json:"limit_name,omitempty"`  // of one that the operator sets
	Setting    string   `json:"setting,omitempty"`     // with which
	Scopes     []string `json:"scopes,omitempty"`      // any one of which would do
	Allow      []string `json:"allow,omitempty"`       // methods of the path
}

// Error makes a problem an error of Go.
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

// Kind is one kind of problem: what all its occurrences share.
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
		"malformed", "The request cannot be read", 400,
		"Send a body that is one JSON object in UTF-8, and headers and a query as documented for the route.",
	}
	InvalidField = Kind{
		"invalid-field", "A field has a value that is not allowed", 400,
		"Change the field that is named, as the detail says.",
	}
	CursorInvalid = Kind{
		"cursor-invalid", "The cursor or page mark cannot be used", 400,
		"Begin again without it: the first answer has a new one.",
	}

	NoToken = Kind{
		"no-token", "The request has no access token", 401,
		"Send the header \"Authorization: Bearer <token>\". A token comes from POST /oauth/token, POST /v1/tokens or `porchlight token create`.",
	}
	InvalidToken = Kind{
		"invalid-token", "The access token is not valid", 401,
		"Get a new token: this one is unknown or revoked, or its user or app is gone or deactivated.",
	}
	InvalidTicket = Kind{
		"invalid-ticket", "The ticket cannot be used", 401,
		"Ask for another with POST /v1/tickets. A ticket opens one stream, once, within 30 seconds.",
	}
	ExpiredToken = Kind{
		"expired-token", "The access token has expired", 401,
		"Get a new token and send the request again.",
	}
	TokenInQuery = Kind{
		"token-in-query", "The access token is in the URL", 401,
		"Send the token in the Authorization header, and revoke this one: URLs end up in logs.",
	}

	InsufficientScope = Kind{
		"insufficient-scope", "The token lacks a scope", 403,
		"Use a token that has one of the scopes listed. Scopes that end in :admin are for other users' objects.",
	}
	Forbidden = Kind{
		"forbidden", "The token does not allow this for that user", 403,
		"Act for the token's own user (\"me\"), or use a token with the :admin form of the scope.",
	}
	Escalation = Kind{
		"escalation", "The new credential would be able to do more than the caller", 403,
		"Ask for scopes that the caller's own token has, in the :admin form if the credential is not for its own user.",
	}

	OriginRefused = Kind{
		"origin-not-allowed", "Pages of this origin may not call the server", 403,
		"Open the page under the server's own URL, or ask the operator to set public-url to that URL, or to add the page's origin to cors-origins.",
	}

	NoRoute = Kind{
		"no-route", "There is nothing at this path", 404,
		"Check the path; GET /docs lists every route.",
	}
	NoUser = Kind{
		"user-not-found", "There is no such user in this account", 404,
		"Check the id or the e-mail; GET /v1/users lists the users.",
	}
	NoSession = Kind{
		"session-not-found", "There is no such live session", 404,
		"Sign in again: the session has ended, or its id is not one of this account's.",
	}
	SessionReplaced = Kind{
		"session-replaced", "A newer session of the same app replaced this one", 404,
		"Do not sign in again by yourself, or two clients will replace each other's sessions forever. Let the person decide. An app has at most 32 sessions of a user at a time.",
	}
	NoClaim = Kind{
		"claim-not-found", "There is no such live claim", 404,
		"Nothing needs to be ended: the claim has ended already, or was never made.",
	}
	NoContact = Kind{
		"contact-not-found", "The user has no such contact", 404,
		"Nothing needs to be removed: GET /v1/users/{user}/contacts lists the contacts.",
	}
	NoWatch = Kind{
		"watch-not-found", "The user has no such watch", 404,
		"Nothing needs to be ended: the watch was told, has expired or was deleted, or it is another user's. GET /v1/watches lists one's own.",
	}
	NoApp = Kind{
		"app-not-found", "There is no such app in this account", 404,
		"Check the id; GET /v1/apps lists the apps.",
	}
	NoTokenID = Kind{
		"token-not-found", "There is no such token", 404,
		"Check the id; GET /v1/tokens lists the tokens. It may have expired or been revoked already.",
	}
	NoAccount = Kind{
		"account-not-found", "The account is gone", 404,
		"Ask the server's operator.",
	}

	MethodNotAllowed = Kind{
		"method-not-allowed", "The path does not take this method", 405,
		"Use one of the methods listed.",
	}

	EmailTaken = Kind{
		"email-taken", "The e-mail address is another user's", 409,
		"Use another address, or change the user who has it.",
	}
	Conflict = Kind{
		"conflict", "Somebody else changed this at the same moment", 409,
		"Read it again and repeat the change.",
	}
	Deactivated = Kind{
		"user-deactivated", "The user is deactivated", 409,
		"Activate the user first: PATCH /v1/users/{user} with {\"active\":true}.",
	}
	SignedOut = Kind{
		"user-signed-out", "The user is not signed in", 409,
		"Sign the user in first: POST /v1/users/{user}/sessions.",
	}
	Transition = Kind{
		"transition-not-allowed", "The user's client is too old for this change", 409,
		"Choose a status that the client knows, or update the client.",
	}
	LimitReached = Kind{
		"limit-reached", "A limit of the user's record is reached", 409,
		"End what is no longer needed, then repeat the request.",
	}
	OwnerKept = Kind{
		"owner-kept", "The account's owner cannot be deactivated or deleted", 409,
		"Make another user the owner first.",
	}

	PreconditionFailed = Kind{
		"precondition-failed", "The condition of If-Match or If-None-Match does not hold", 412,
		"Read it again, decide anew, and send its new ETag as If-Match. If you sent `If-None-Match: *`, it already exists.",
	}
	BodyTooLarge = Kind{
		"body-too-large", "The request body is too large", 413,
		"Send less in one request: bodies have at most 65536 bytes, and 1048576 for a presence query or a batch of refreshes.",
	}
	UnsupportedMediaType = Kind{
		"unsupported-media-type", "The body has a media type that the route does not read", 415,
		"Send \"Content-Type: application/json\" and a body that is not compressed.",
	}
	HostRefused = Kind{
		"host-not-allowed", "The server does not answer under this host name", 421,
		"Use a URL of the server, or ask its operator to set public-url to this one, or to add the name to allowed-hosts.",
	}
	KeyReused = Kind{
		"idempotency-key-reused", "The Idempotency-Key came with another request before", 422,
		"Use a new key for a new request, and the same key only to repeat the same one.",
	}

	TooSoon = Kind{
		"too-soon", "The user was updated less than a minute ago", 429,
		"Wait for the seconds in Retry-After, then repeat the request.",
	}
	RateLimited = Kind{
		"rate-limited", "The account's limit of requests is reached", 429,
		"Wait for the seconds in Retry-After, then repeat the request.",
	}

	QuotaExceeded = Kind{
		"quota-exceeded", "A limit for one address, user, app or account is reached", 429,
		"Wait for the seconds in Retry-After, then repeat the request; and close streams and connections that you do not need. If the limit is too low, the server's operator can change the setting that the problem names.",
	}

	Internal = Kind{
		"internal", "The server failed", 500,
		"Try again later. Give the instance to the server's operator: it is in the server's log.",
	}
	OutcomeUnknown = Kind{
		"outcome-unknown", "It is not known whether the change was made", 503,
		"Repeat the request with the same Idempotency-Key: it is not carried out twice.",
	}
	Unavailable = Kind{
		"unavailable", "The server cannot answer now", 503,
		"Wait for the seconds in Retry-After, then repeat the request.",
	}
	Overloaded = Kind{
		"overloaded", "The server is at a limit that all clients share", 503,
		"Wait for the seconds in Retry-After, then try again. If it happens often, the server's operator can raise the setting that the problem names.",
	}
	DiskFull = Kind{
		"disk-full", "The server's disk is almost full", 507,
		"Nothing was changed. The server's operator has to free space; reads go on.",
	}
)

// Kinds is the catalogue: every kind of problem, by status and slug.
func Kinds() []*Kind {
	return []*Kind{
		&CursorInvalid, &InvalidField, &Malformed,
		&ExpiredToken, &InvalidTicket, &InvalidToken, &NoToken, &TokenInQuery,
		&Escalation, &Forbidden, &InsufficientScope, &OriginRefused,
		&NoAccount, &NoApp, &NoClaim, &NoContact, &NoRoute, &NoSession, &SessionReplaced, &NoTokenID, &NoUser, &NoWatch,
		&MethodNotAllowed,
		&Conflict, &EmailTaken, &LimitReached, &OwnerKept, &Transition, &Deactivated, &SignedOut,
		&PreconditionFailed, &BodyTooLarge, &UnsupportedMediaType, &HostRefused, &KeyReused,
		&QuotaExceeded, &RateLimited, &TooSoon,
		&Internal, &OutcomeUnknown, &Overloaded, &Unavailable, &DiskFull,
	}
}
