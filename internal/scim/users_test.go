package scim_test

import (
	"fmt"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/scim"
)

const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

// TestUser: a user from its creation to its deletion.
func TestUser(t *testing.T) {
	f := newFixture(t)
	made := f.do("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"Ada@example.com","externalId":"00u1",
		"name":{"givenName":"Ada","familyName":"Okafor"},"displayName":"Ada O.","nickName":"ignored","roles":[],
		"emails":[{"value":"ada@home.example","type":"home"},{"value":"ada@example.com","type":"work","primary":true}],
		"`+enterprise+`":{"department":"Engineering","employeeNumber":"7"}}`).want(201)
	id := made.id()
	location := "https://presence.example.com/scim/v2/Users/" + id
	made.has("userName", "ada@example.com", "externalId", "00u1", "active", true, "displayName", "Ada O.", "name/formatted", "Ada Okafor",
		"emails/0/value", "ada@example.com", "emails/0/type", "work", "emails/0/primary", true, "emails/1", "", "nickName", "",
		enterprise+"/department", "Engineering", enterprise+"/employeeNumber", "", "schemas/1", enterprise,
		"meta/resourceType", "User", "meta/location", location, "meta/created", "2026-11-22T12:00:00.000Z", "meta/version", made.header.Get("Etag"))
	if made.header.Get("Location") != location || made.header.Get("Etag") == "" {
		t.Errorf("headers %v", made.header)
	}
	read := f.do("GET", "/Users/"+id, "").want(200)
	if read.text != made.text {
		t.Errorf("created %s\nread %s", made.text, read.text)
	}
	f.do("GET", "/Users/"+id, "", "If-None-Match", made.header.Get("Etag")).want(304)
	f.do("GET", "/Users/"+id, "", "If-Match", `"other"`).fails(412, "")

	f.do("PUT", "/Users/"+id, user("ada"), "If-Match", `"other"`).fails(412, "")
	f.clock.Advance(1e9)
	put := f.do("PUT", "/Users/"+id, user("ada"), "If-Match", made.header.Get("Etag")).want(200)
	put.has("displayName", "ada Okafor", enterprise, "", "externalId", "ext-ada", "meta/lastModified", "2026-11-22T12:00:01.000Z", "meta/created", "2026-11-22T12:00:00.000Z")
	if put.header.Get("Etag") == made.header.Get("Etag") {
		t.Error("the version is the same after a change")
	}

	f.do("DELETE", "/Users/"+id, "", "If-Match", made.header.Get("Etag")).fails(412, "")
	f.do("DELETE", "/Users/"+id, "").want(204)
	for _, method := range []string{"GET", "DELETE"} {
		f.do(method, "/Users/"+id, "").fails(404, "")
	}
	f.do("PUT", "/Users/"+id, user("ada")).fails(404, "")
	f.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":true}`)).fails(404, "")
	f.do("POST", "/Users", user("ada")).want(201) // its identifiers are free again
}

// TestUniqueness: user names, addresses and external ids are unique among the users of an
// account, and can be used in another one.
func TestUniqueness(t *testing.T) {
	f := newFixture(t)
	f.create("ada")
	grace := f.create("grace")
	f.do("POST", "/Users", `{"userName":"login-7","emails":[{"value":"seven@example.com"}]}`).want(201).has("userName", "login-7", "emails/0/value", "seven@example.com")
	for name, body := range map[string]string{
		"all":                      user("ada"),
		"address in another case":  `{"userName":"ADA@example.com"}`,
		"external id":              `{"userName":"new@example.com","externalId":"ext-ada"}`,
		"user name":                `{"userName":"LOGIN-7","emails":[{"value":"new@example.com"}]}`,
		"address of another":       `{"userName":"new","emails":[{"value":"ada@example.com"}]}`,
		"address as the user name": `{"userName":"ada@example.com","emails":[{"value":"new@example.com"}]}`,
	} {
		if a := f.do("POST", "/Users", body); a.status != 409 {
			t.Errorf("%s: status %d", name, a.status)
		} else {
			a.fails(409, "uniqueness")
		}
	}
	f.do("PATCH", "/Users/"+grace, patch(`{"op":"replace","value":{"externalId":"ext-ada"}}`)).fails(409, "uniqueness")
	f.do("PATCH", "/Users/"+grace, patch(`{"op":"replace","path":"userName","value":"ada@example.com"}`)).fails(409, "uniqueness")
	f.as(f.foreign, "POST", "/Users", user("ada")).want(201)
	f.do("PATCH", "/Users/"+grace, patch(`{"op":"replace","path":"externalId","value":"EXT-ADA"}`)).want(200) // exact
	f.do("GET", `/Users?filter=externalId eq "EXT-ADA"`, "").want(200).has("totalResults", 1, "Resources/0/id", grace)
	f.do("GET", `/Users?filter=externalId eq "ext-grace"`, "").want(200).has("totalResults", 0)
}

// TestUserNames: what user names are and are not.
func TestUserNames(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/Users", `{"userName":"ada"}`).fails(400, "invalidValue")
	f.do("POST", "/Users", `{"emails":[{"value":"ada@example.com"}]}`).fails(400, "invalidValue")
	f.do("POST", "/Users", `{"userName":"a b@example.com"}`).fails(400, "invalidValue")
	id := f.do("POST", "/Users", `{"userName":"ada@example.com"}`).want(201).id()
	// The address follows a user name that was the address …
	f.do("PATCH", "/Users/"+id, patch(`{"op":"Replace","path":"userName","value":"ada.o@example.com"}`)).want(200).
		has("userName", "ada.o@example.com", "emails/0/value", "ada.o@example.com")
	// … and not the other way round.
	f.do("PATCH", "/Users/"+id, patch(`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"mail@example.com"}`)).want(200).
		has("userName", "ada.o@example.com", "emails/0/value", "mail@example.com")
	f.do("GET", `/Users?filter=userName eq "ADA.O@example.com"`, "").want(200).has("totalResults", 1, "Resources/0/id", id)
	f.do("GET", `/Users?filter=userName eq "mail@example.com"`, "").want(200).has("totalResults", 0)
	f.do("GET", `/Users?filter=emails[type eq "work"].value eq "mail@example.com"`, "").want(200).has("totalResults", 1)
	f.do("PATCH", "/Users/"+id, patch(`{"op":"Replace","path":"userName","value":"mail@example.com"}`)).want(200).has("userName", "mail@example.com")
	f.do("GET", `/Users?filter=userName eq "mail@example.com"`, "").want(200).has("totalResults", 1)
}

// TestPatch: all the forms in which identity providers ask for changes.
func TestPatch(t *testing.T) {
	f := newFixture(t)
	f.create("ada")
	for _, c := range []struct {
		name, operations string
		has              []any
	}{
		{"Okta: deactivate", `{"op":"replace","value":{"active":false}}`, []any{"active", false, "userName", "x@example.com"}},
		{"Entra: deactivate", `{"op":"Replace","path":"active","value":"False"}`, []any{"active", false}},
		{"Entra: activate", `{"op":"Replace","path":"active","value":"True"}`, []any{"active", true}},
		{"Entra: address", `{"op":"Replace","path":"emails[type eq \"work\"].value","value":"y@example.com"}`, []any{"emails/0/value", "y@example.com", "emails/1", ""}},
		{"Entra: add the address", `{"op":"Add","path":"emails[type eq \"work\"].value","value":"y@example.com"}`, []any{"emails/0/value", "y@example.com"}},
		{"an address that is not the primary one", `{"op":"Add","path":"emails[type eq \"home\"].value","value":"y@example.com"}`, []any{"emails/0/value", "x@example.com"}},
		{"a new list of addresses", `{"op":"replace","path":"emails","value":[{"value":"y@example.com","type":"work"}]}`, []any{"emails/0/value", "y@example.com"}},
		{"a new primary address", `{"op":"add","path":"emails","value":{"value":"y@example.com","primary":true}}`, []any{"emails/0/value", "y@example.com"}},
		{"dotted names", `{"op":"replace","value":{"name.givenName":"Grace","name.familyName":"Kim","displayName":"Grace K."}}`, []any{"name/givenName", "Grace", "name/familyName", "Kim", "displayName", "Grace K."}},
		{"URNs as names", `{"op":"add","value":{"` + enterprise + `:department":"Ops","` + enterprise + `:employeeNumber":"1"}}`, []any{enterprise + "/department", "Ops"}},
		{"a URN as a path", `{"op":"Add","path":"` + enterprise + `:department","value":"Ops"}`, []any{enterprise + "/department", "Ops"}},
		{"an extension as a path", `{"op":"add","path":"` + enterprise + `","value":{"department":"Ops","division":"x"}}`, []any{enterprise + "/department", "Ops"}},
		{"an extension as a name", `{"op":"replace","value":{"` + enterprise + `":{"department":"Ops"}}}`, []any{enterprise + "/department", "Ops"}},
		{"the URN of the core schema", `{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:name.givenName","value":"Grace"}`, []any{"name/givenName", "Grace", "name/familyName", "Okafor"}},
		{"a part of the name", `{"op":"Replace","path":"name.familyName","value":"Kim"}`, []any{"name/givenName", "x", "name/familyName", "Kim", "name/formatted", "x Kim"}},
		{"the name", `{"op":"replace","path":"name","value":{"givenName":"Grace"}}`, []any{"name/givenName", "Grace", "name/familyName", "Okafor"}},
		{"names in another case", `{"OP":"REPLACE","PATH":"DISPLAYNAME","VALUE":"X"}`, []any{"displayName", "X"}},
		{"remove", `{"op":"remove","path":"externalId"}`, []any{"externalId", ""}},
		{"remove a part", `{"op":"Remove","path":"name.givenName"}`, []any{"name/givenName", "", "name/familyName", "Okafor"}},
		{"replace by null", `{"op":"replace","path":"displayName","value":null}`, []any{"displayName", ""}},
		{"replace by nothing", `{"op":"replace","path":"displayName","value":""}`, []any{"displayName", ""}},
		{"a value in an array", `{"op":"replace","path":"displayName","value":["X"]}`, []any{"displayName", "X"}},
		{"unknown attributes", `{"op":"Add","path":"phoneNumbers[type eq \"mobile\"].value","value":"1"},{"op":"Replace","path":"title","value":"Dr"},{"op":"add","path":"urn:example:custom:2.0:User:x","value":{"a":1}},{"op":"replace","path":"manager","value":"x"}`, []any{"displayName", "x Okafor", "title", ""}},
		{"read-only attributes in a value", `{"op":"replace","value":{"id":"x","groups":[{"value":"x"}],"meta":{},"displayName":"X"}}`, []any{"displayName", "X"}},
		{"several", `{"op":"replace","path":"displayName","value":"X"},{"op":"remove","path":"displayName"},{"op":"add","path":"displayName","value":"Y"}`, []any{"displayName", "Y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{Handler: f.Handler, t: t, token: f.token}
			id := f.create("x")
			f.do("PATCH", "/Users/"+id, patch(c.operations)).want(200).has(append(c.has, "id", id)...)
			f.do("GET", "/Users/"+id, "").want(200).has(c.has...)
			f.do("DELETE", "/Users/"+id, "").want(204)
		})
	}
}

// TestBadPatch: a PATCH of which one operation fails changes nothing.
func TestBadPatch(t *testing.T) {
	f := newFixture(t)
	id := f.create("ada")
	before := f.do("GET", "/Users/"+id, "").want(200)
	for _, c := range []struct {
		name, operation, scimType string
	}{
		{"verb", `{"op":"move","path":"displayName","value":"x"}`, "invalidSyntax"},
		{"no verb", `{"path":"displayName","value":"x"}`, "invalidSyntax"},
		{"no object", `7`, "invalidSyntax"},
		{"path", `{"op":"add","path":"emails[","value":"x"}`, "invalidPath"},
		{"path with more", `{"op":"add","path":"displayName x","value":"x"}`, "invalidPath"},
		{"path of no string", `{"op":"add","path":7,"value":"x"}`, "invalidPath"},
		{"brackets", `{"op":"add","path":"displayName[value eq \"x\"]","value":"x"}`, "invalidPath"},
		{"read-only", `{"op":"replace","path":"id","value":"x"}`, "mutability"},
		{"read-only part", `{"op":"replace","path":"meta.version","value":"x"}`, "mutability"},
		{"groups", `{"op":"add","path":"groups","value":[{"value":"x"}]}`, "mutability"},
		{"type", `{"op":"replace","path":"active","value":"perhaps"}`, "invalidValue"},
		{"type of a string", `{"op":"replace","path":"displayName","value":7}`, "invalidValue"},
		{"type of a complex attribute", `{"op":"replace","path":"name","value":"x"}`, "invalidValue"},
		{"no value", `{"op":"add","path":"displayName"}`, "invalidValue"},
		{"no path for remove", `{"op":"remove"}`, "noTarget"},
		{"no object without a path", `{"op":"replace","value":"x"}`, "invalidValue"},
		{"required", `{"op":"remove","path":"userName"}`, "invalidValue"},
		{"no item", `{"op":"replace","path":"emails[value co \"nobody\"].value","value":"x@example.com"}`, "noTarget"},
		{"long", `{"op":"replace","path":"displayName","value":"` + strings.Repeat("x", 300) + `"}`, "invalidValue"},
		{"address", `{"op":"replace","path":"emails[type eq \"work\"].value","value":"nobody"}`, "invalidValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{Handler: f.Handler, t: t, token: f.token}
			f.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"displayName","value":"changed"}`, `{"op":"replace","path":"active","value":false}`, c.operation)).fails(400, c.scimType)
		})
	}
	f.do("PATCH", "/Users/"+id, `{"Operations":[{"op":"replace","path":"displayName","value":"x"}]}`).fails(400, "invalidSyntax")
	f.do("PATCH", "/Users/"+id, patch()).fails(400, "invalidSyntax")
	if after := f.do("GET", "/Users/"+id, "").want(200); after.text != before.text {
		t.Errorf("it was %s, and is %s", before.text, after.text)
	}
}

// TestBodies: bodies that are refused, and how.
func TestBodies(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name, body, scimType string
		status               int
	}{
		{"no JSON", `{`, "invalidSyntax", 400},
		{"no object", `[]`, "invalidSyntax", 400},
		{"a name twice", `{"userName":"a@example.com","userName":"b@example.com"}`, "invalidSyntax", 400},
		{"a name twice in another case", `{"userName":"a@example.com","username":"b@example.com"}`, "invalidSyntax", 400},
		{"a name twice below", `{"userName":"a@example.com","name":{"givenName":"a","GIVENNAME":"b"}}`, "invalidSyntax", 400},
		{"schemas", `{"schemas":"x","userName":"a@example.com"}`, "invalidValue", 400},
		{"a number", `{"userName":7}`, "invalidValue", 400},
		{"a string", `{"userName":"a@example.com","name":"Ada"}`, "invalidValue", 400},
		{"an array", `{"userName":"a@example.com","displayName":["x"]}`, "invalidValue", 400},
		{"a boolean", `{"userName":"a@example.com","active":"maybe"}`, "invalidValue", 400},
		{"an extension", `{"userName":"a@example.com","` + enterprise + `":[]}`, "invalidValue", 400},
		{"UTF-8", "{\"userName\":\"\xff@example.com\"}", "invalidSyntax", 400},
		{"large", `{"userName":"` + strings.Repeat("x", 1<<20) + `"}`, "", 413},
		{"deep", strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), "invalidSyntax", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			(&fixture{Handler: f.Handler, t: t, token: f.token}).do("POST", "/Users", c.body).fails(c.status, c.scimType)
		})
	}
	f.do("POST", "/Users", user("a"), "Content-Type", "text/plain").fails(415, "")
	f.do("POST", "/Users", user("a"), "Content-Encoding", "gzip").fails(415, "")
	f.do("POST", "/Users", user("a"), "Content-Type", "application/json").want(201)
	f.do("GET", "/Users", "").has("totalResults", 2)
}

// TestOwner: the account's owner can be neither deactivated nor deleted, and an
// administrator's address not be changed with SCIM's scope alone.
func TestOwner(t *testing.T) {
	f := newFixture(t)
	owner := "/Users/" + string(f.owner.ID)
	for _, a := range []*answer{
		f.do("DELETE", owner, ""),
		f.do("PATCH", owner, patch(`{"op":"replace","value":{"active":false}}`)),
		f.do("PUT", owner, `{"userName":"owner@example.com","active":false}`),
		f.do("PATCH", owner, patch(`{"op":"replace","path":"emails","value":[{"value":"mallory@example.com"}]}`)),
		f.do("PATCH", owner, patch(`{"op":"replace","path":"userName","value":"mallory@example.com"}`)),
	} {
		if detail := a.fails(403, "").at("detail").(string); !strings.Contains(detail, "owner") && !strings.Contains(detail, "owns") { //nolint:errcheck // a type assertion that panics fails the test
			t.Errorf("detail %q", detail)
		}
	}
	f.do("PATCH", owner, patch(`{"op":"replace","path":"displayName","value":"Owner"}`)).want(200).has("active", true, "userName", "owner@example.com")
}

// TestScope: a token needs the scope, in its :admin form, for every route.
func TestScope(t *testing.T) {
	f := newFixture(t)
	app, _ := f.App(f.account, strings.ReplaceAll(everythingElse, "\n", " ")+" scim:write")
	_, without := f.Token(f.account, app.ID, "", everythingElse, 0)
	_, plain := f.Token(f.account, app.ID, f.owner.ID, "scim:write", 0)
	for _, route := range f.api.Routes() {
		method, path, _ := strings.Cut(route, " ")
		path = strings.ReplaceAll(strings.TrimPrefix(path, Prefix), "{user}", string(f.owner.ID))
		for _, token := range []string{without, plain} {
			a := f.as(token, method, path, "").fails(403, "")
			if !strings.Contains(a.header.Get("Www-Authenticate"), `scope="scim:write:admin"`) {
				t.Errorf("%s: %v", route, a.header)
			}
		}
		f.as("", method, path, "").fails(401, "")
		f.as("nonsense", method, path, "").fails(401, "")
	}
	f.do("GET", "/Nothing", "").fails(404, "")
	f.do("POST", "/ServiceProviderConfig", "test").fails(405, "")
	f.do("POST", "/Bulk", "{}").fails(501, "")
	f.do("GET", "/Me", "").fails(404, "")
}

const everythingElse = "presence:read:admin session:read:admin session:write:admin claim:read:admin claim:write:admin contact:read:admin contact:write:admin " +
	"subscription:read:admin subscription:write:admin directory:read:admin directory:write:admin audit:read:admin"

// TestForeign: another account's user gets the same response as one that does not exist.
func TestForeign(t *testing.T) {
	f := newFixture(t)
	deleted := f.create("ada")
	f.do("DELETE", "/Users/"+deleted, "").want(204)
	for _, c := range []struct{ method, body string }{
		{"GET", ""}, {"DELETE", ""}, {"PUT", user("x")}, {"PATCH", patch(`{"op":"replace","value":{"active":false}}`)},
	} {
		answers := make(map[string]bool)
		for _, id := range []string{string(f.eve.ID), "KDcuGIm1QgePTO8WbOqwIQ", deleted, "x", strings.Repeat("x", 700), "a%2Fb"} {
			answers[f.do(c.method, "/Users/"+id, c.body).fails(404, "").text] = true
		}
		if len(answers) != 1 {
			t.Errorf("%s: responses distinguish absent users: %v", c.method, answers)
		}
	}
	for _, filter := range []string{`id eq "` + string(f.eve.ID) + `"`, `userName eq "eve@example.com"`, `emails.value eq "eve@example.com"`, `userName sw "eve"`} {
		f.do("GET", "/Users?filter="+filter, "").want(200).has("totalResults", 0)
	}
	f.as(f.foreign, "GET", "/Users", "").want(200).has("totalResults", 1, "Resources/0/id", string(f.eve.ID))
}

// TestFilters: what filters select, and how many.
func TestFilters(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"ada", "grace", "linus", "Zoë"} {
		f.clock.Advance(1e9)
		f.do("POST", "/Users", strings.ReplaceAll(user(name), "Zoë@", "zoe@")).want(201)
	}
	f.do("POST", "/Users", `{"userName":"max@example.com","active":false,"`+enterprise+`":{"department":"R\"D\\"},"name":{"givenName":"max"}}`).want(201)
	for filter, want := range map[string]string{
		`userName eq "ada@example.com"`:                                              "ada",
		`USERNAME EQ "ADA@EXAMPLE.COM"`:                                              "ada",
		`urn:ietf:params:scim:schemas:core:2.0:User:userName eq "ada@example.com"`:   "ada",
		`externalId eq "ext-ada"`:                                                    "ada",
		`externalId eq "EXT-ada"`:                                                    "",
		`userName eq "ada@example.com" or externalId eq "ext-grace"`:                 "ada grace",
		`userName eq "ada@example.com" or userName eq "ada@example.com"`:             "ada",
		`userName eq "ada@example.com" and active eq false`:                          "",
		`active eq "True" and userName eq "ada@example.com"`:                         "ada",
		`emails[type eq "work" and value eq "grace@example.com"]`:                    "grace",
		`emails[type eq "work"].value eq "grace@example.com"`:                        "grace",
		`emails eq "grace@example.com"`:                                              "grace",
		`emails.value eq "grace@example.com"`:                                        "grace",
		`emails[type eq "home"]`:                                                     "",
		`active eq false`:                                                            "max",
		`active ne true`:                                                             "max",
		`not (active eq true)`:                                                       "max",
		`userName sw "gr"`:                                                           "grace",
		`userName co "A@"`:                                                           "ada",
		`userName ew "us@example.com"`:                                               "linus",
		`name.givenName eq "ZOË"`:                                                    "Zoë",
		`name.givenName eq "zo\u00eb"`:                                               "Zoë",
		`name.givenName gt "linus"`:                                                  "Zoë max",
		`name.givenName ge "max" and name.givenName lt "n"`:                          "max",
		`name.givenName le "ada"`:                                                    "ada",
		enterprise + `:department eq "r\"d\\"`:                                       "max",
		enterprise + `:department pr`:                                                "max",
		`not (externalId pr) and name.givenName pr`:                                  "max",
		`externalId eq null and name.givenName pr`:                                   "max",
		`name pr and externalId ne "ext-ada" and active eq true`:                     "Zoë grace linus",
		`meta.created gt "2026-11-22T13:00:03+01:00"`:                                "Zoë max",
		`meta.created eq "2026-11-22T12:00:03Z"`:                                     "linus",
		`meta.lastModified lt "2026-11-22T12:00:01.500Z" and name pr`:                "ada",
		`name.givenName eq "ada" or name.givenName eq "grace" and active eq false`:   "ada",
		`(name.givenName eq "ada" or name.givenName eq "grace") and active eq false`: "",
		`schemas eq "` + enterprise + `"`:                                            "max",
		`title eq "x"`:                                                               "!",
		`userName`:                                                                   "!",
		`userName eq`:                                                                "!",
		`userName eq "ada`:                                                           "!",
		`userName is "ada"`:                                                          "!",
		`userName eq ada`:                                                            "!",
		`userName eq 7`:                                                              "!",
		`userName gt true`:                                                           "!",
		`userName gt null`:                                                           "!",
		`active gt true`:                                                             "!",
		`active eq "x"`:                                                              "!",
		`meta.created co "2026-11-22T12:00:00Z"`:                                     "!",
		`meta.created gt "yesterday"`:                                                "!",
		`name eq "x"`:                                                                "!",
		`userName[value eq "x"]`:                                                     "!",
		`emails[value eq "x"`:                                                        "!",
		`emails[value eq "x"].nothing eq "y"`:                                        "!",
		`(userName pr`:                                                               "!",
		`userName pr)`:                                                               "!",
		`userName pr and`:                                                            "!",
		`userName pr userName pr`:                                                    "!",
		`not userName pr`:                                                            "!",
		``:                                                                           "!",
		strings.Repeat("(", 40) + "userName pr" + strings.Repeat(")", 40):            "!",
		"userName pr" + strings.Repeat(" or userName pr", 80):                        "!",
		`userName eq "` + strings.Repeat("x", 5000) + `"`:                            "!",
	} {
		a := f.do("GET", "/Users?filter="+escape(filter), "")
		if want == "!" {
			a.fails(400, "invalidFilter")
			continue
		}
		a.want(200)
		var got []string
		resources, _ := a.at("Resources").([]any)
		for _, r := range resources {
			got = append(got, fmt.Sprint(valueAt(r, "name/givenName")))
		}
		sortStrings(got)
		if strings.Join(got, " ") != want || a.at("totalResults") != float64(len(got)) {
			t.Errorf("%s: %v of %v, want %s", filter, got, a.at("totalResults"), want)
		}
	}
}

// TestPages: paging, counts and parts of resources.
func TestPages(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.create(fmt.Sprint("user", i))
	}
	seen := make(map[any]bool)
	for start := 1; start <= 6; start += 2 {
		a := f.do("GET", fmt.Sprintf("/Users?startIndex=%d&count=2", start), "").want(200).has("totalResults", 6, "itemsPerPage", 2, "startIndex", start)
		seen[a.at("Resources/0/id")], seen[a.at("Resources/1/id")] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("%d users on three pages", len(seen))
	}
	f.do("GET", "/Users?count=0", "").want(200).has("totalResults", 6, "itemsPerPage", 0, "Resources/0", "")
	f.do("GET", "/Users?count=-1&startIndex=-7", "").want(200).has("totalResults", 6, "itemsPerPage", 0, "startIndex", 1)
	f.do("GET", "/Users?startIndex=7", "").want(200).has("totalResults", 6, "Resources/0", "")
	f.do("GET", "/Users?count=many", "").fails(400, "invalidValue")
	f.do("GET", "/Users?count=1&count=2", "").fails(400, "invalidValue")
	f.do("POST", "/Users/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"attributes":["userName","name.givenName"],"filter":"userName sw \"user\"","startIndex":2,"count":2}`).
		want(200).has("totalResults", 5, "itemsPerPage", 2, "Resources/0/active", "", "Resources/0/name/familyName", "", "Resources/0/emails", "")
	f.do("POST", "/Users/.search", `{"filter":"userName pr"}`).fails(400, "invalidSyntax")
	f.do("GET", `/Users?filter=userName eq "user0@example.com"&attributes=userName,emails.value,`+enterprise, "").want(200).
		has("Resources/0/userName", "user0@example.com", "Resources/0/emails/0/value", "user0@example.com", "Resources/0/emails/0/type", "", "Resources/0/name", "", "Resources/0/schemas/0", "urn:ietf:params:scim:schemas:core:2.0:User")
	f.do("GET", "/Users/"+string(f.owner.ID)+"?excludedAttributes=emails,meta.version,id,active", "").want(200).
		has("emails", "", "meta/version", "", "meta/resourceType", "User", "active", "", "id", string(f.owner.ID))
	f.api.MaxScanned = 5
	f.do("GET", "/Users", "").fails(400, "tooMany")
	f.do("GET", `/Users?filter=userName eq "user1@example.com"`, "").want(200).has("totalResults", 1)
}
