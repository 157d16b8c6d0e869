package apptest

import (
	"maps"
	"strings"

	"porchlight.dev/porchlight/api"
)

// A Right describes who may call a route, and what the others are answered.
type Right struct {
	// Caller is who may call the route; the zero value is whoever has a token.
	Caller  Caller
	Scope   string // that the token needs; "": any token
	Manager bool   // requires the :admin form
	// Besides are scopes that the :admin form needs beside it; without them the response is
	// Escalation.
	Besides string
	Query   string // of the request
	Body    string // JSON if neither Form nor CSV is true
	Form    bool   // Body is a form
	CSV     bool   // Body is CSV
	OK      int
	AppOK   int // OK for an app's own token; 0: the same
	// Lacking is the response to a token without the scope, if it is not that of the dialect
	// to all such tokens.
	Lacking *api.Kind
	// Elses is the response to the plain scope for another user's object; nil: allowed.
	Elses *api.Kind
	// Personal: Elses is the response to the :admin form, too.
	Personal bool
	// Missing is the response for an object of another account, one that never existed,
	// and one of a deleted user; nil: the route has no object.
	Missing *api.Kind
	// Stream: a permitted request takes its connection over.
	Stream bool
}

// A Caller is a kind of caller that a route accepts.
type Caller uint8

// Callers.
const (
	WithToken    Caller = iota // a bearer token, or the cookie of a sign-in
	Anybody                    // pages and documents, the same for everybody
	App                        // who authenticates as an app, such as at the token endpoint
	AppToken                   // an app's own token alone
	TokenInQuery               // a WebSocket of a client that cannot set headers
	SystemToken                // the operator of the server
	Person                     // the cookie of a sign-in, and no bearer token
)

// Fill fills the placeholders of Body and Query: pairs of a name and its value.
func (r *Right) Fill(pairs ...string) {
	fill := strings.NewReplacer(pairs...)
	r.Body, r.Query = fill.Replace(r.Body), fill.Replace(r.Query)
}

const (
	signIn = `{"client_type":"web"}`
	claim  = `{"source":"app","status":"busy"}`
)

// MemberScopes is the :admin form of what members may do.
const MemberScopes = "presence:read:admin claim:read:admin claim:write:admin session:read:admin session:write:admin contact:read:admin " +
	"contact:write:admin subscription:read:admin subscription:write:admin directory:read:admin directory:write:admin"

// NativeRights has a row for each route of the native API that needs a token. In the
// bodies {self} is the e-mail address of the token's user, {new} text that no user has,
// {asks} an app's request for access, {code} what a device shows, and {password} the user's.
func NativeRights() map[string]Right { return maps.Clone(nativeRights) }

var nativeRights = map[string]Right{
	"GET /v1/oauth/authorization":                     {Caller: Person, Query: "{asks}", OK: 200},
	"POST /v1/oauth/authorization":                    {Caller: Person, Body: `{"request":"{asks}","allow":true}`, OK: 200},
	"GET /v1/oauth/device":                            {Caller: Person, Query: "user_code={code}", OK: 200},
	"POST /v1/oauth/device":                           {Caller: Person, Body: `{"user_code":"{code}","allow":true}`, OK: 204},
	"GET /v1/grants":                                  {Scope: "directory:read", OK: 200},
	"DELETE /v1/grants/{grant}":                       {Scope: "directory:write", OK: 204, Elses: &api.NoGrant, Personal: true, Missing: &api.NoGrant},
	"POST /v1/signage-links":                          {Scope: "directory:write", Manager: true, Body: `{"name":"x"}`, OK: 201},
	"GET /v1/signage-links":                           {Scope: "directory:read", Manager: true, OK: 200},
	"DELETE /v1/signage-links/{link}":                 {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoSignageLink},
	"GET /v1/signage/{secret}":                        {Caller: Anybody, OK: 404}, // nobody has made the link
	"POST /v1/sign-ins":                               {Caller: Anybody, Body: `{"email":"{new}@example.com","password":"wrong"}`, OK: 401},
	"GET /v1/sign-ins/methods":                        {Caller: Anybody, OK: 200},
	"DELETE /v1/sign-ins/current":                     {Caller: Anybody, OK: 204},
	"POST /v1/invitations/accept":                     {Caller: Anybody, Body: `{"secret":"x","password":"x"}`, OK: 404},
	"GET /v1/sign-ins":                                {Scope: "directory:read", OK: 200},
	"DELETE /v1/sign-ins":                             {Scope: "directory:write", OK: 204},
	"DELETE /v1/sign-ins/{signin}":                    {Scope: "directory:write", OK: 204, Elses: &api.NoSignIn, Personal: true, Missing: &api.NoSignIn},
	"GET /v1/users/{user}/sign-ins":                   {Scope: "directory:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}/sign-ins":                {Scope: "directory:write", OK: 204, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PUT /v1/me/password":                             {Scope: "directory:write", Body: `{"current":"{password}","new":"{password}"}`, OK: 204, AppOK: 400}, // an app has no password
	"POST /v1/users/{user}/invitation":                {Scope: "directory:write", Manager: true, Besides: MemberScopes, OK: 201, Missing: &api.NoUser},
	"POST /v1/users/{user}/password-reset":            {Scope: "directory:write", Manager: true, Besides: MemberScopes, OK: 201, Missing: &api.NoUser},
	"POST /v1/sessions":                               {Scope: "session:write", Body: signIn, OK: 201},
	"GET /v1/sessions":                                {Scope: "session:read", OK: 200},
	"POST /v1/sessions/refresh":                       {Scope: "session:write", Body: `{"sessions":[{"id":"x"}]}`, OK: 200},
	"GET /v1/sessions/{session}":                      {Scope: "session:read", OK: 200, Elses: &api.NoSession, Missing: &api.NoSession},
	"PATCH /v1/sessions/{session}":                    {Scope: "session:write", Body: `{}`, OK: 200, Elses: &api.NoSession, Missing: &api.NoSession},
	"DELETE /v1/sessions/{session}":                   {Scope: "session:write", OK: 204, Elses: &api.NoSession, Missing: &api.NoSession},
	"POST /v1/users/{user}/sessions":                  {Scope: "session:write", Body: signIn, OK: 201, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/sessions":                   {Scope: "session:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/claims":                     {Scope: "claim:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PUT /v1/users/{user}/claims/{claim}":             {Scope: "claim:write", Body: claim, OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}/claims/{claim}":          {Scope: "claim:write", OK: 204, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PUT /v1/users/{user}/note":                       {Scope: "claim:write", Body: `{"text":"x"}`, OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}/note":                    {Scope: "claim:write", OK: 204, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/contacts":                   {Scope: "contact:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PUT /v1/users/{user}/contacts/{contact}":         {Scope: "contact:write", Body: `{"group":"x"}`, OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}/contacts/{contact}":      {Scope: "contact:write", OK: 204, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/visibility":                 {Scope: "contact:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PUT /v1/users/{user}/visibility":                 {Scope: "contact:write", Body: `{"everyone":"status"}`, OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}/visibility":              {Scope: "contact:write", OK: 204, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/presence":                   {Scope: "presence:read", OK: 200, Missing: &api.NoUser},
	"GET /v1/users/{user}/presence/explain":           {Scope: "presence:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/history":                    {Scope: "presence:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/users/{user}/history/summary":            {Scope: "presence:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"GET /v1/presence":                                {Scope: "presence:read", OK: 200},
	"POST /v1/presence/query":                         {Scope: "presence:read", Body: `{"users":["me"]}`, OK: 200},
	"GET /v1/presence/changes":                        {Scope: "presence:read", OK: 200},
	"GET /v1/stream":                                  {Scope: "presence:read", OK: 200, Stream: true},
	"POST /v1/tickets":                                {Scope: "presence:read", OK: 201},
	"POST /v1/watches":                                {Scope: "presence:read", Body: `{"user":"me"}`, OK: 201},
	"GET /v1/watches":                                 {Scope: "presence:read", OK: 200},
	"GET /v1/watches/{watch}":                         {Scope: "presence:read", OK: 200, Elses: &api.NoWatch, Personal: true, Missing: &api.NoWatch},
	"DELETE /v1/watches/{watch}":                      {Scope: "presence:read", OK: 204, Elses: &api.NoWatch, Personal: true, Missing: &api.NoWatch},
	"POST /v1/subscriptions":                          {Scope: "subscription:write", Body: `{"url":"{endpoint}"}`, OK: 201},
	"GET /v1/subscriptions":                           {Scope: "subscription:read", OK: 200},
	"GET /v1/subscriptions/{subscription}":            {Scope: "subscription:read", OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"PATCH /v1/subscriptions/{subscription}":          {Scope: "subscription:write", Body: `{"name":"x"}`, OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"DELETE /v1/subscriptions/{subscription}":         {Scope: "subscription:write", OK: 204, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"POST /v1/subscriptions/{subscription}/secret":    {Scope: "subscription:write", Body: `{}`, OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"POST /v1/subscriptions/{subscription}/enable":    {Scope: "subscription:write", OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"POST /v1/subscriptions/{subscription}/test":      {Scope: "subscription:write", Body: `{}`, OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"POST /v1/subscriptions/{subscription}/replay":    {Scope: "subscription:write", Body: `{"from":"2026-03-01T08:00:00Z"}`, OK: 202, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"GET /v1/subscriptions/{subscription}/deliveries": {Scope: "subscription:read", OK: 200, Elses: &api.NoSubscription, Missing: &api.NoSubscription},
	"POST /v1/users":                                  {Scope: "directory:write", Manager: true, Body: `{"email":"{new}@example.com"}`, OK: 201},
	"GET /v1/subscriptions/{subscription}/events":     {Scope: "subscription:write", OK: 409, Elses: &api.NoSubscription, Missing: &api.NoSubscription}, // those here have a URL
	"GET /v1/users":                                   {Scope: "directory:read", Manager: true, OK: 200},
	"POST /v1/users/import":                           {Scope: "directory:write", Manager: true, CSV: true, Body: "email\nnew@example.com\n", OK: 200},
	"GET /v1/users/export":                            {Scope: "directory:read", Manager: true, OK: 200},
	"GET /v1/users/{user}":                            {Scope: "directory:read", OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"PATCH /v1/users/{user}":                          {Scope: "directory:write", Body: `{"last_name":"X"}`, OK: 200, Elses: &api.Forbidden, Missing: &api.NoUser},
	"DELETE /v1/users/{user}":                         {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoUser},
	"GET /v1/audit":                                   {Scope: "audit:read", Manager: true, OK: 200},
	"GET /v1/audit/checkpoints":                       {Scope: "audit:read", Manager: true, OK: 200},
	"GET /v1/audit/export":                            {Scope: "audit:read", Manager: true, OK: 200},
	"GET /v1/users/{user}/erasure":                    {Scope: "directory:read", Manager: true, OK: 200, Missing: &api.NoErasure},
	"POST /v1/groups":                                 {Scope: "directory:write", Manager: true, Body: `{"name":"{new}"}`, OK: 201},
	"GET /v1/groups":                                  {Scope: "directory:read", Manager: true, OK: 200},
	"GET /v1/groups/{group}":                          {Scope: "directory:read", Manager: true, OK: 200, Missing: &api.NoGroup},
	"PATCH /v1/groups/{group}":                        {Scope: "directory:write", Manager: true, Body: `{"name":"{new}"}`, OK: 200, Missing: &api.NoGroup},
	"DELETE /v1/groups/{group}":                       {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoGroup},
	"GET /v1/groups/{group}/members":                  {Scope: "directory:read", Manager: true, OK: 200, Missing: &api.NoGroup},
	"PUT /v1/groups/{group}/members/{user}":           {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoGroup},
	"DELETE /v1/groups/{group}/members/{user}":        {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoGroup},
	"POST /v1/apps":                                   {Scope: "directory:write", Manager: true, Body: `{"name":"x","scopes":["directory:write"]}`, OK: 201},
	"GET /v1/apps":                                    {Scope: "directory:read", Manager: true, OK: 200},
	"GET /v1/apps/{app}":                              {Scope: "directory:read", Manager: true, OK: 200, Missing: &api.NoApp},
	"PATCH /v1/apps/{app}":                            {Scope: "directory:write", Manager: true, Body: `{"name":"x"}`, OK: 200, Missing: &api.NoApp},
	"DELETE /v1/apps/{app}":                           {Scope: "directory:write", Manager: true, OK: 204, Missing: &api.NoApp},
	"POST /v1/apps/{app}/secret":                      {Scope: "directory:write", Manager: true, OK: 200, Missing: &api.NoApp},
	"POST /v1/apps/{app}/webhook-secret":              {Scope: "directory:write", Manager: true, Body: `{}`, OK: 200, Missing: &api.NoApp},
	"POST /v1/tokens":                                 {Scope: "directory:write", Body: `{"name":"x","scopes":["directory:write"]}`, OK: 201},
	"GET /v1/tokens":                                  {Scope: "directory:read", OK: 200},
	"DELETE /v1/tokens":                               {Scope: "directory:write", Query: "user=me&app=none", OK: 200},
	"DELETE /v1/tokens/{token}":                       {Scope: "directory:write", OK: 204, Elses: &api.NoTokenID, Missing: &api.NoTokenID},
	"GET /v1/health":                                  {Scope: "directory:read", Manager: true, OK: 200},
	"GET /v1/account":                                 {Scope: "directory:read", OK: 200},
	"PATCH /v1/account":                               {Scope: "directory:write", Manager: true, Body: `{"history_days":30}`, OK: 200},
	"GET /v1/me":                                      {OK: 200},
}
