package scim_test

import (
	"fmt"
	"strings"
	"testing"
)

// A step is a request of a published sequence, and what it is to be answered. In path and
// body, {NAME} is the id that a step with that name got.
type step struct {
	name, method, path, body string
	status                   int
	has                      []any
	save                     string // the name of the id in the response
}

// run sends the requests in their order. The header fields are those of the provider.
func (f *fixture) run(steps []step, headers ...string) {
	f.t.Helper()
	ids := []string{}
	for _, s := range steps {
		fill := strings.NewReplacer(ids...)
		method, path, _ := strings.Cut(s.method, " ")
		if path == "" {
			path = s.path
		}
		a := f.do(method, fill.Replace(path), fill.Replace(s.body), headers...)
		if a.status != s.status {
			f.t.Fatalf("%s: %s: status %d, want %d: %s", s.name, a.asked, a.status, s.status, a.text)
		}
		has := append([]any(nil), s.has...)
		for i := range has {
			if text, ok := has[i].(string); ok {
				has[i] = fill.Replace(text)
			}
		}
		a.has(has...)
		if s.save != "" {
			id, ok := a.at("id").(string)
			if !ok {
				id = fmt.Sprint(a.at("Resources/0/id"))
			}
			ids = append(ids, "{"+s.save+"}", id)
		}
	}
}

const (
	listSchema  = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	errorSchema = "urn:ietf:params:scim:api:messages:2.0:Error"
	userSchema  = "urn:ietf:params:scim:schemas:core:2.0:User"
)

// TestOkta: the requests and assertions of the suite "Okta SCIM 2.0 SPEC Test", which Okta
// publishes for those who build a SCIM service, and what Okta's reference says of
// updates, deactivation and groups.
func TestOkta(t *testing.T) {
	f := newFixture(t)
	f.create("isaac") // the suite wants users
	f.do("DELETE", "/Users/"+f.create("gone"), "").want(204)
	random := `{"schemas":["` + userSchema + `"],"userName":"random@example.com","name":{"givenName":"Random","familyName":"Person"},` +
		`"emails":[{"primary":true,"value":"random@example.com","type":"work"}],"displayName":"Random Person","active":true}`
	f.run([]step{
		{name: "configuration", method: "GET /ServiceProviderConfig", status: 200, has: []any{
			"schemas/0", "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig", "patch/supported", true, "bulk/supported", false,
			"bulk/maxOperations", 0, "bulk/maxPayloadSize", 0, "filter/supported", true, "filter/maxResults", 1000, "changePassword/supported", false,
			"sort/supported", false, "etag/supported", true, "authenticationSchemes/0/type", "oauthbearertoken",
		}},
		{name: "configuration is read-only", method: "POST /ServiceProviderConfig", body: "test", status: 405},
		{name: "types", method: "GET /ResourceTypes", status: 200, has: []any{"schemas/0", listSchema, "Resources/0/name", "User", "Resources/0/endpoint", "/Users", "Resources/0/schema", userSchema}},
		{name: "types are read-only", method: "POST /ResourceTypes", body: "test", status: 405},
		{name: "schemas", method: "GET /Schemas", status: 200, has: []any{"schemas/0", listSchema, "Resources/0/id", userSchema, "Resources/0/attributes/0/name", "userName"}},
		{name: "schemas are read-only", method: "POST /Schemas", body: "test", status: 405},
		{name: "a user", method: "GET /Users?filter=userName eq \"isaac@example.com\"&count=1&startIndex=1", status: 200, save: "user", has: []any{
			"schemas/0", listSchema, "itemsPerPage", 1, "startIndex", 1, "totalResults", 1, "Resources/0/name/familyName", "Okafor", "Resources/0/name/givenName", "isaac",
			"Resources/0/userName", "isaac@example.com", "Resources/0/active", true, "Resources/0/emails/0/value", "isaac@example.com",
		}},
		{name: "list", method: "GET /Users?count=1&startIndex=1", status: 200, has: []any{"itemsPerPage", 1, "startIndex", 1, "totalResults", 2}},
		{name: "the user", method: "GET /Users/{user}", status: 200, has: []any{"id", "{user}", "name/familyName", "Okafor", "userName", "isaac@example.com", "active", true}},
		{name: "unknown user name", method: `GET /Users?filter=userName eq "abcdefgh@atko.com"`, status: 200, has: []any{"schemas/0", listSchema, "totalResults", 0}},
		{name: "unknown id", method: "GET /Users/010101001010101011001010101011", status: 404, has: []any{"schemas/0", errorSchema, "status", "404"}},
		{name: "not there yet", method: `GET /Users?filter=userName eq "random@example.com"`, status: 200, has: []any{"totalResults", 0}},
		{name: "create", method: "POST /Users", body: random, status: 201, save: "random", has: []any{
			"active", true, "name/familyName", "Person", "name/givenName", "Random", "schemas/0", userSchema, "userName", "random@example.com",
		}},
		{name: "created", method: "GET /Users/{random}", status: 200, has: []any{"userName", "random@example.com", "name/familyName", "Person", "name/givenName", "Random"}},
		{name: "again", method: "POST /Users", body: random, status: 409, has: []any{"schemas/0", errorSchema, "scimType", "uniqueness"}},
		{name: "no filter", method: "GET /Users?filter=RANDOM@EXAMPLE.COM", status: 400},
		{name: "other case", method: `GET /Users?filter=userName eq "RANDOM@EXAMPLE.COM"`, status: 200, has: []any{"totalResults", 1, "Resources/0/id", "{random}"}},
		{name: "groups", method: "GET /Groups", status: 200, has: []any{"totalResults", 0}},

		// Okta's reference.
		{name: "update", method: "PUT /Users/{random}", body: strings.Replace(random, `"Random"`, `"Another"`, 1), status: 200, has: []any{"name/givenName", "Another", "id", "{random}"}},
		{name: "deactivate", method: "PATCH /Users/{random}", body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","value":{"active":false}}]}`, status: 200, has: []any{"active", false}},
		{name: "reactivate", method: "PUT /Users/{random}", body: random, status: 200, has: []any{"active", true, "name/givenName", "Random"}},
		{name: "create a group", method: "POST /Groups", body: `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Test SCIMv2","members":[]}`, status: 201, save: "group", has: []any{"displayName", "Test SCIMv2"}},
		{name: "rename it", method: "PATCH /Groups/{group}", body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","value":{"id":"{group}","displayName":"Test SCIMv2 renamed"}}]}`, status: 204},
		{name: "add a member", method: "PATCH /Groups/{group}", body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"remove","path":"members[value eq \"{user}\"]"},{"op":"add","path":"members","value":[{"value":"{random}","display":"random@example.com"}]}]}`, status: 204},
		{name: "read it", method: "GET /Groups/{group}", status: 200, has: []any{"displayName", "Test SCIMv2 renamed", "members/0/value", "{random}", "members/1", ""}},
		{name: "replace it", method: "PUT /Groups/{group}", body: `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"id":"{group}","displayName":"Test SCIMv2","members":[{"value":"{user}","display":"isaac"}]}`, status: 200, has: []any{"members/0/value", "{user}", "members/1", ""}},
		{name: "list groups", method: "GET /Groups?startIndex=1&count=100", status: 200, has: []any{"totalResults", 1}},
		{name: "delete it", method: "DELETE /Groups/{group}", status: 204},
	}, "Accept", "application/scim+json", "Accept-Charset", "utf-8", "User-Agent", "OKTA SCIM Integration")
}

// TestEntra: the requests that Microsoft documents in "Develop and plan provisioning for a
// SCIM endpoint in Microsoft Entra ID", in the order of a provisioning cycle, those of its
// page on compatibility, with and without the flag aadOptscim062020, and those that its
// SCIM Validator sends.
func TestEntra(t *testing.T) {
	f := newFixture(t)
	const patched = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`
	f.run([]step{
		{name: "test of the connection", method: `GET /Users?filter=userName eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"`, status: 200, has: []any{"schemas/0", listSchema, "totalResults", 0, "Resources/0", ""}},
		{name: "no user by address", method: `GET /Users?filter=emails[type eq "work"].value eq "Test_User_11bb@testuser.com"`, status: 200, has: []any{"totalResults", 0}},
		{name: "create user", method: "POST /Users", status: 201, save: "user", body: `{"schemas":["` + userSchema + `","` + enterprise + `"],
			"externalId":"0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef","userName":"Test_User_00aa00aa","active":true,
			"emails":[{"primary":true,"type":"work","value":"Test_User_11bb@testuser.com"}],"meta":{"resourceType":"User"},
			"name":{"formatted":"givenName familyName","familyName":"familyName","givenName":"givenName"},"roles":[],
			"addresses":[{"type":"work","country":"ML"}],"phoneNumbers":[{"type":"mobile","value":"1"}],"` + enterprise + `":{"manager":"x"}}`, has: []any{
			"externalId", "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName", "Test_User_00aa00aa", "name/formatted", "givenName familyName", "active", true,
			"emails/0/value", "Test_User_11bb@testuser.com", "emails/0/type", "work", "emails/0/primary", true, "meta/resourceType", "User",
		}},
		{name: "create it again", method: "POST /Users", body: `{"userName":"test_user_00AA00AA","emails":[{"value":"x@testuser.com"}]}`, status: 409, has: []any{"scimType", "uniqueness"}},
		{name: "get user", method: "GET /Users/{user}", status: 200, has: []any{"userName", "Test_User_00aa00aa"}},
		{name: "get user who is not there", method: "GET /Users/5171a35d82074e068ce2", status: 404, has: []any{"schemas/0", errorSchema, "status", "404"}},
		{name: "get user by query", method: `GET /Users?filter=userName eq "Test_User_00aa00aa"`, status: 200, has: []any{"totalResults", 1, "startIndex", 1, "Resources/0/id", "{user}"}},
		{name: "get user by externalId", method: `GET /Users?filter=externalId eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"`, status: 200, has: []any{"totalResults", 1}},
		{name: "zero results", method: `GET /Users?filter=userName eq "non-existent user"`, status: 200, has: []any{"totalResults", 0, "startIndex", 1}},
		{name: "update multi-valued properties", method: "PATCH /Users/{user}", body: patched + `{"op":"Replace","path":"emails[type eq \"work\"].value","value":"updatedEmail@microsoft.com"},{"op":"Replace","path":"name.familyName","value":"updatedFamilyName"}]}`, status: 200, has: []any{
			"emails/0/value", "updatedEmail@microsoft.com", "name/familyName", "updatedFamilyName", "name/formatted", "givenName updatedFamilyName", "userName", "Test_User_00aa00aa",
		}},
		{name: "update single-valued properties", method: "PATCH /Users/{user}", body: patched + `{"op":"Replace","path":"userName","value":"5b50642d@testuser.com"}]}`, status: 200, has: []any{
			"userName", "5b50642d@testuser.com", "emails/0/value", "updatedEmail@microsoft.com",
		}},
		{name: "old form: several attributes", method: "PATCH /Users/{user}", body: patched + `{"op":"Replace","path":"displayName","value":"Pvlo"},{"op":"Replace","path":"emails[type eq \"work\"].value","value":"TestBcwqnm@test.microsoft.com"},
			{"op":"Replace","path":"name.givenName","value":"Gtfd"},{"op":"Replace","path":"externalId","value":"Eqpj"},{"op":"Replace","path":"` + enterprise + `:employeeNumber","value":"Eqpj"},{"op":"Add","path":"` + enterprise + `:department","value":"Sales"}]}`, status: 200, has: []any{
			"displayName", "Pvlo", "emails/0/value", "TestBcwqnm@test.microsoft.com", "name/givenName", "Gtfd", "externalId", "Eqpj", enterprise + "/department", "Sales",
		}},
		{name: "new form: several attributes", method: "PATCH /Users/{user}", body: patched + `{"op":"replace","path":"emails[type eq \"work\"].value","value":"TestMhvaes@test.microsoft.com"},
			{"op":"replace","value":{"displayName":"Bjfe","name.givenName":"Kkom","name.familyName":"Unua","` + enterprise + `:employeeNumber":"Aklq","` + enterprise + `:department":"Ops"}}]}`, status: 200, has: []any{
			"displayName", "Bjfe", "name/givenName", "Kkom", "name/familyName", "Unua", "emails/0/value", "TestMhvaes@test.microsoft.com", enterprise + "/department", "Ops",
		}},
		{name: "an attribute that is not there", method: "PATCH /Users/{user}", body: patched + `{"op":"Add","path":"nickName","value":"Babs"}]}`, status: 200, has: []any{"nickName", ""}},
		{name: "a manager", method: "PATCH /Users/{user}", body: patched + `{"op":"Add","path":"` + enterprise + `:manager","value":"x"},{"op":"Replace","path":"roles[primary eq \"True\"].value","value":"x"}]}`, status: 200},
		{name: "old form: disable", method: "PATCH /Users/{user}", body: patched + `{"op":"Replace","path":"active","value":"False"}]}`, status: 200, has: []any{"active", false}},
		{name: "a disabled user is found", method: `GET /Users?filter=userName eq "5b50642d@testuser.com"`, status: 200, has: []any{"totalResults", 1, "Resources/0/active", false}},
		{name: "enable", method: "PATCH /Users/{user}", body: patched + `{"op":"Replace","path":"active","value":true}]}`, status: 200, has: []any{"active", true}},
		{name: "new form: disable", method: "PATCH /Users/{user}", body: patched + `{"op":"replace","path":"active","value":false}]}`, status: 200, has: []any{"active", false}},

		{name: "no group", method: `GET /Groups?excludedAttributes=members&filter=displayName eq "displayName"`, status: 200, has: []any{"totalResults", 0}},
		{name: "create group", method: "POST /Groups", body: `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],"externalId":"8aa1a0c0","displayName":"displayName","meta":{"resourceType":"Group"}}`, status: 201, save: "group", has: []any{"externalId", "8aa1a0c0", "displayName", "displayName", "members/0", ""}},
		{name: "create group again", method: "POST /Groups", body: `{"displayName":"displayName"}`, status: 409, has: []any{"scimType", "uniqueness"}},
		{name: "get group", method: "GET /Groups/{group}?excludedAttributes=members", status: 200, has: []any{"displayName", "displayName", "externalId", "8aa1a0c0", "members", ""}},
		{name: "get group by name", method: `GET /Groups?excludedAttributes=members&filter=displayName eq "displayName"`, status: 200, has: []any{"totalResults", 1, "Resources/0/id", "{group}", "Resources/0/members", ""}},
		{name: "rename group", method: "PATCH /Groups/{group}", body: patched + `{"op":"Replace","path":"displayName","value":"1879db59updatedDisplayName"}]}`, status: 204},
		{name: "add members", method: "PATCH /Groups/{group}", body: patched + `{"op":"Add","path":"members","value":[{"$ref":null,"value":"{user}"}]}]}`, status: 204},
		{name: "is it a member?", method: `GET /Groups?filter=id eq "{group}" and members eq "{user}"&excludedAttributes=members`, status: 200, has: []any{"totalResults", 1}},
		{name: "old form: remove members", method: "PATCH /Groups/{group}", body: patched + `{"op":"Remove","path":"members","value":[{"$ref":null,"value":"{user}"}]}]}`, status: 204},
		{name: "is it no member?", method: `GET /Groups?filter=id eq "{group}" and members eq "{user}"&excludedAttributes=members`, status: 200, has: []any{"totalResults", 0}},
		{name: "add again", method: "PATCH /Groups/{group}", body: patched + `{"op":"add","path":"members","value":[{"value":"{user}"}]}]}`, status: 204},
		{name: "new form: remove members", method: "PATCH /Groups/{group}", body: patched + `{"op":"remove","path":"members[value eq \"{user}\"]"}]}`, status: 204},
		{name: "without members", method: "GET /Groups/{group}", status: 200, has: []any{"displayName", "1879db59updatedDisplayName", "members/0", ""}},
		{name: "replace group name and externalId", method: "PATCH /Groups/{group}", body: patched + `{"op":"replace","value":{"externalId":"new","displayName":"name"}}]}`, status: 204},
		{name: "delete group", method: "DELETE /Groups/{group}", status: 204},
		{name: "the group is gone", method: "GET /Groups/{group}", status: 404},
		{name: "delete user", method: "DELETE /Users/{user}", status: 204},
		{name: "the user is gone", method: "GET /Users/{user}", status: 404},
		{name: "delete user again", method: "DELETE /Users/{user}", status: 404},
		{name: "schemas", method: "GET /Schemas", status: 200, has: []any{
			"totalResults", 3, "Resources/0/id", userSchema, "Resources/1/id", enterprise, "Resources/0/attributes/0/name", "userName", "Resources/0/attributes/0/required", true,
			"Resources/0/attributes/0/caseExact", false, "Resources/0/attributes/0/mutability", "readWrite", "Resources/0/attributes/0/returned", "default",
			"Resources/0/attributes/0/uniqueness", "server", "Resources/0/attributes/0/multiValued", false, "Resources/0/meta/resourceType", "Schema",
		}},
		{name: "a schema", method: "GET /Schemas/" + enterprise, status: 200, has: []any{"name", "EnterpriseUser"}},
		{name: "no schema", method: "GET /Schemas/urn:x", status: 404},
		{name: "a type", method: "GET /ResourceTypes/User", status: 200, has: []any{"schemaExtensions/0/schema", enterprise, "schemaExtensions/0/required", false}},
		{name: "filtered schemas", method: `GET /Schemas?filter=id eq "x"`, status: 403},
	})
}
