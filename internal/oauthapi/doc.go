// Package oauthapi is the authorization server: the endpoints of OAuth 2.0 (RFC 6749 with
// 7009, 7636, 8414, 8628, 9207 and 9700) under /oauth/, with which apps obtain and revoke
// access tokens, for themselves and for people who allow it.
//
// It is separate from the APIs that accept these tokens, because all of them do. Package
// auth decides which tokens there are and what they may do; this package reads requests,
// and writes answers, in the form of the protocol. It also understands what clients of
// other servers send: parameters in the query, the content type of JSON with an empty
// body, the grant account_credentials. Such clients get what they expect: 400 for wrong
// credentials too, and the member "reason" beside "error".
//
// It guarantees that a browser is sent only to a redirect URI of the app that asks, that no
// app's secret is read from a URL, and that no answer with a token is cached. A test for
// each requirement of the RFCs is in TestRequirements.
//
// It must not decide who somebody is, nor show pages: people sign in and decide by the
// native API, which asks this package what a request means.
package oauthapi
