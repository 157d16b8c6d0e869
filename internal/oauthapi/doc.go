// Package oauthapi is the authorization server: the endpoints of OAuth 2.0 (RFC 6749, RFC
// 9700) under /oauth/, with which apps obtain and revoke access tokens.
//
// It is separate from the APIs that accept these tokens, because all of them do. Package
// auth decides which tokens there are and what they may do; this package reads requests,
// and writes answers, in the form of the protocol. It also understands what clients of
// other servers send: parameters in the query, the content type of JSON with an empty
// body, the grant account_credentials. Such clients get what they expect: 400 for wrong
// credentials too, and the member "reason" beside "error".
//
// It guarantees that a secret is never in a URL that it reads or makes, except a code in
// the redirect to its app, and that no answer with a token is cached.
//
// It must not decide who somebody is: people sign in elsewhere.
package oauthapi
