package apptest

import (
	"maps"
	"strings"

	"porchlight.dev/porchlight/api"
)

// Rights has a row for each route of the server: those of NativeRights, the pages, and the
// routes of other dialects. The slug of a kind is there the code of the dialect's error.
func Rights() map[string]Right {
	all := NativeRights()
	maps.Copy(all, vendorRights)
	maps.Copy(all, scimRights)
	maps.Copy(all, systemRights)
	for _, path := range publicPaths {
		all["GET "+path] = Right{Caller: Anybody, OK: 200}
	}
	all["GET /docs/{page}"] = Right{Caller: Anybody, OK: 301}
	return all
}

// systemRights are the routes of the operator.
var systemRights = map[string]Right{
	"POST /v1/system/accounts":                   {Caller: SystemToken, Body: `{"name":"x","owner_email":"{new}@example.com"}`, OK: 201},
	"GET /v1/system/accounts":                    {Caller: SystemToken, OK: 200},
	"GET /v1/system/accounts/{account}":          {Caller: SystemToken, OK: 200},
	"PATCH /v1/system/accounts/{account}":        {Caller: SystemToken, Body: `{"name":"x"}`, OK: 200},
	"DELETE /v1/system/accounts/{account}":       {Caller: SystemToken, OK: 202},
	"GET /v1/system/accounts/{account}/deletion": {Caller: SystemToken, OK: 200},
	"GET /v1/system/nodes":                       {Caller: SystemToken, OK: 200},
	"POST /v1/system/nodes/upgrade":              {Caller: SystemToken, OK: 200},
	"GET /v1/system/audit":                       {Caller: SystemToken, OK: 200},
	"GET /v1/system/audit/export":                {Caller: SystemToken, OK: 200},
}

// publicPaths are pages and documents, which are the same for everybody.
var publicPaths = strings.Fields(`/{$} /me
	/docs /docs/start /docs/openapi.yaml /docs/openapi.json /docs/openapi-3.0.json /docs/problems /docs/problems/{slug} /help /help/index.json /help/{page...}
	/ui/{version}/{file...} /admin /admin/{rest...} /signage/{secret} /signin /welcome /account /device /.well-known/oauth-authorization-server`)

// Errors of a vendor's API, by their codes.
var (
	vendorNoUser         = api.Kind{Slug: "1001", Status: 404}
	vendorNoPermission   = api.Kind{Slug: "200", Status: 400}
	vendorForbidden      = api.Kind{Slug: "5411", Status: 400}
	vendorNoSubscription = api.Kind{Slug: "1601", Status: 404}
	vendorNoApp          = api.Kind{Slug: "1401", Status: 404}
	vendorNoGroup        = api.Kind{Slug: "4130", Status: 404}
	vendorNotAllowed     = api.Kind{Slug: "1602", Status: 400}
)

var vendorRights = map[string]Right{
	"GET /v2/users":                 {Scope: "directory:read", Manager: true, OK: 200},
	"POST /v2/users":                {Scope: "directory:write", Manager: true, Body: `{"action":"create","user_info":{"email":"{new}@example.com","type":1}}`, OK: 201},
	"GET /v2/users/email":           {Scope: "directory:read", Manager: true, Query: "email=x@example.com", OK: 200},
	"GET /v2/users/{userId}":        {Scope: "directory:read", OK: 200, Elses: &vendorNoPermission, Missing: &vendorNoUser},
	"PATCH /v2/users/{userId}":      {Scope: "directory:write", Body: `{"first_name":"X"}`, OK: 204, Elses: &vendorNoPermission, Missing: &vendorNoUser},
	"DELETE /v2/users/{userId}":     {Scope: "directory:write", Manager: true, OK: 204, Missing: &vendorNoUser},
	"PUT /v2/users/{userId}/status": {Scope: "directory:write", Manager: true, Body: `{"action":"deactivate"}`, OK: 204, Missing: &vendorNoUser},
	"PUT /v2/users/{userId}/email":  {Scope: "directory:write", Manager: true, Body: `{"email":"{new}@example.com"}`, OK: 204, Missing: &vendorNoUser},

	"GET /v2/groups":                                 {Scope: "directory:read", Manager: true, OK: 200},
	"GET /v2/groups/{groupId}":                       {Scope: "directory:read", Manager: true, OK: 200, Missing: &vendorNoGroup},
	"GET /v2/groups/{groupId}/members":               {Scope: "directory:read", Manager: true, OK: 200, Missing: &vendorNoGroup},
	"POST /v2/groups/{groupId}/members":              {Scope: "directory:write", Manager: true, Body: `{"members":[{"id":"{memberId}"}]}`, OK: 201, Missing: &vendorNoGroup},
	"DELETE /v2/groups/{groupId}/members/{memberId}": {Scope: "directory:write", Manager: true, OK: 204, Missing: &vendorNoGroup},

	"PUT /v2/users/{userId}/presence_status":                              {Scope: "claim:write", Body: `{"status":"Away"}`, OK: 204, Elses: &vendorForbidden, Missing: &vendorNoUser},
	"GET /v2/users/{userId}/presence_status":                              {Scope: "presence:read", OK: 200, Missing: &vendorNoUser},
	"GET /v2/contacts":                                                    {Scope: "contact:read", Query: "search_key=example", OK: 200},
	"GET /v2/chat/users/me/contacts":                                      {Scope: "contact:read", OK: 200},
	"GET /v2/chat/users/me/contacts/{identifier}":                         {Scope: "contact:read", OK: 200, Missing: &vendorNoUser},
	"GET /v2/marketplace/app/event_subscription":                          {Caller: AppToken, OK: 200},
	"POST /v2/marketplace/app/event_subscription":                         {Caller: AppToken, Scope: "presence:read", Manager: true, Lacking: &vendorNotAllowed, Body: `{"events":["user.presence_status_updated"],"event_subscription_name":"x","event_webhook_url":"{endpoint}","subscription_scope":"account"}`, OK: 201},
	"DELETE /v2/marketplace/app/event_subscription":                       {Caller: AppToken, Query: "event_subscription_id={eventSubscriptionId}", OK: 204, Elses: &vendorNoSubscription, Personal: true, Missing: &vendorNoSubscription},
	"PATCH /v2/marketplace/app/event_subscription/{eventSubscriptionId}":  {Caller: AppToken, Scope: "presence:read", Manager: true, Lacking: &vendorNotAllowed, Body: `{"user_ids":["me"]}`, OK: 204, Elses: &vendorNoSubscription, Personal: true, Missing: &vendorNoSubscription},
	"DELETE /v2/marketplace/app/event_subscription/{eventSubscriptionId}": {Caller: AppToken, OK: 204, Elses: &vendorNoSubscription, Personal: true, Missing: &vendorNoSubscription},
	"GET /v2/marketplace/apps/{appId}/webhook_logs":                       {Caller: AppToken, Scope: "subscription:read", OK: 200, Elses: &vendorNoApp, Personal: true, Missing: &vendorNoApp},
	"GET /ws":                {Caller: TokenInQuery, OK: 426},
	"POST /oauth/token":      {Caller: App, Form: true, Body: "grant_type=client_credentials", OK: 200},
	"GET /oauth/authorize":   {Caller: Anybody, Query: "{asks}", OK: 200},
	"POST /oauth/devicecode": {Caller: App, Form: true, OK: 200},
	"POST /oauth/revoke":     {Caller: App, Form: true, Body: "token={bearer}", OK: 200},
}

// scimMissing is the response for what is not there in SCIM, whose errors have a status alone.
var scimMissing = api.Kind{Slug: "404", Status: 404}

const (
	scimPatch  = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"displayName","value":"{new}"}]}`
	scimSearch = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"count":1}`
)

var scimRights = map[string]Right{
	"GET /scim/v2/ServiceProviderConfig": {Scope: "scim:write", Manager: true, OK: 200},
	"GET /scim/v2/ResourceTypes":         {Scope: "scim:write", Manager: true, OK: 200},
	"GET /scim/v2/ResourceTypes/{type}":  {Scope: "scim:write", Manager: true, OK: 200},
	"GET /scim/v2/Schemas":               {Scope: "scim:write", Manager: true, OK: 200},
	"GET /scim/v2/Schemas/{schema}":      {Scope: "scim:write", Manager: true, OK: 200},
	"POST /scim/v2/Bulk":                 {Scope: "scim:write", Manager: true, Body: `{}`, OK: 501},
	"GET /scim/v2/Users":                 {Scope: "scim:write", Manager: true, OK: 200},
	"POST /scim/v2/Users/.search":        {Scope: "scim:write", Manager: true, Body: scimSearch, OK: 200},
	"POST /scim/v2/Users":                {Scope: "scim:write", Manager: true, Body: `{"userName":"{new}@example.com"}`, OK: 201},
	"GET /scim/v2/Users/{user}":          {Scope: "scim:write", Manager: true, OK: 200, Missing: &scimMissing},
	"PUT /scim/v2/Users/{user}":          {Scope: "scim:write", Manager: true, Body: `{"userName":"{new}@example.com"}`, OK: 200, Missing: &scimMissing},
	"PATCH /scim/v2/Users/{user}":        {Scope: "scim:write", Manager: true, Body: scimPatch, OK: 200, Missing: &scimMissing},
	"DELETE /scim/v2/Users/{user}":       {Scope: "scim:write", Manager: true, OK: 204, Missing: &scimMissing},
	"GET /scim/v2/Groups":                {Scope: "scim:write", Manager: true, OK: 200},
	"POST /scim/v2/Groups/.search":       {Scope: "scim:write", Manager: true, Body: scimSearch, OK: 200},
	"POST /scim/v2/Groups":               {Scope: "scim:write", Manager: true, Body: `{"displayName":"{new}"}`, OK: 201},
	"GET /scim/v2/Groups/{group}":        {Scope: "scim:write", Manager: true, OK: 200, Missing: &scimMissing},
	"PUT /scim/v2/Groups/{group}":        {Scope: "scim:write", Manager: true, Body: `{"displayName":"{new}"}`, OK: 200, Missing: &scimMissing},
	"PATCH /scim/v2/Groups/{group}":      {Scope: "scim:write", Manager: true, Body: scimPatch, OK: 204, Missing: &scimMissing},
	"DELETE /scim/v2/Groups/{group}":     {Scope: "scim:write", Manager: true, OK: 204, Missing: &scimMissing},
}
