package scim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/provision"
)

// members are the ids of the members of a group, in order.
func (f *fixture) members(group string) string {
	f.t.Helper()
	var ids []string
	listed, _ := f.do("GET", "/Groups/"+group, "").want(200).at("members").([]any)
	for _, m := range listed {
		ids = append(ids, fmt.Sprint(valueAt(m, "value")))
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func sorted(ids ...string) string {
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func member(id string) string { return `{"value":"` + id + `"}` }

// TestGroup: a group from its creation to its deletion.
func TestGroup(t *testing.T) {
	f := newFixture(t)
	ada, grace, linus := f.create("ada"), f.create("grace"), f.create("linus")
	made := f.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"externalId":"g-1","displayName":"Support","members":[`+member(ada)+`]}`).want(201)
	id := made.id()
	location := "https://presence.example.com/scim/v2/Groups/" + id
	made.has("displayName", "Support", "externalId", "g-1", "members/0/value", ada, "members/0/display", "ada Okafor", "members/0/type", "User",
		"members/0/$ref", "https://presence.example.com/scim/v2/Users/"+ada, "meta/resourceType", "Group", "meta/location", location)
	if made.header.Get("Location") != location {
		t.Errorf("headers %v", made.header)
	}
	f.do("GET", "/Users/"+ada, "").want(200).has("groups/0/value", id, "groups/0/display", "Support", "groups/0/$ref", location, "groups/1", "")
	f.do("GET", "/Groups/"+id+"?excludedAttributes=members", "").want(200).has("members", "", "displayName", "Support")

	f.do("POST", "/Groups", `{"displayName":"SUPPORT"}`).fails(409, "uniqueness")
	f.do("POST", "/Groups", `{"externalId":"x"}`).fails(400, "invalidValue")
	f.do("POST", "/Groups", `{"displayName":"New","members":[{"value":"nobody"}]}`).fails(400, "invalidValue")
	f.do("POST", "/Groups", `{"displayName":"New","members":[{"value":"`+string(f.eve.ID)+`"}]}`).fails(400, "invalidValue")
	f.do("POST", "/Groups", `{"displayName":"New","members":[{"value":"`+id+`","type":"Group"}]}`).fails(400, "invalidValue")
	f.do("GET", `/Groups?filter=displayName eq "New"`, "").want(200).has("totalResults", 0)

	// Okta replaces the group with all its members.
	f.do("PUT", "/Groups/"+id, `{"displayName":"Help","members":[`+member(grace)+`,`+member(linus)+`]}`).want(200).has("displayName", "Help", "externalId", "")
	if got, want := f.members(id), sorted(grace, linus); got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	f.do("GET", "/Users/"+ada, "").want(200).has("groups", "")
	f.do("PUT", "/Groups/"+id, `{"displayName":"Help"}`).want(200).has("members/1/type", "User")
	f.do("PUT", "/Groups/"+id, `{"displayName":"Help","members":[]}`).want(200).has("members/0", "")

	f.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[`+member(ada)+`]}`)).want(204)
	f.do("DELETE", "/Groups/"+id, "").want(204)
	for _, method := range []string{"GET", "DELETE"} {
		f.do(method, "/Groups/"+id, "").fails(404, "")
	}
	f.do("GET", "/Users/"+ada, "").want(200).has("groups", "")
	f.do("POST", "/Groups", `{"displayName":"Help"}`).want(201).has("members/0", "")
}

// TestGroupPatch: all the forms in which identity providers change groups.
func TestGroupPatch(t *testing.T) {
	f := newFixture(t)
	a, b, c := f.create("a"), f.create("b"), f.create("c")
	add := func(ids ...string) string {
		for i := range ids {
			ids[i] = member(ids[i])
		}
		return strings.Join(ids, ",")
	}
	for _, row := range []struct {
		name, operations, members, display string
	}{
		{"Entra: add", `{"op":"Add","path":"members","value":[{"$ref":null,"value":"` + c + `"}]}`, sorted(a, b, c), ""},
		{"Entra: remove", `{"op":"Remove","path":"members","value":[{"$ref":null,"value":"` + a + `"}]}`, b, ""},
		{"Entra: remove with a filter", `{"op":"Remove","path":"members[value eq \"` + a + `\"]"}`, b, ""},
		{"Entra: rename", `{"op":"Replace","path":"displayName","value":"Renamed"}`, sorted(a, b), "Renamed"},
		{"Okta: rename", `{"op":"replace","value":{"id":"x","displayName":"Renamed"}}`, sorted(a, b), "Renamed"},
		{"Okta: members", `{"op":"remove","path":"members[value eq \"` + a + `\"]"},{"op":"add","path":"members","value":[` + add(c) + `]}`, sorted(b, c), ""},
		{"replace", `{"op":"replace","path":"members","value":[` + add(c) + `]}`, c, ""},
		{"replace and add", `{"op":"replace","path":"members","value":[` + add(c) + `]},{"op":"add","path":"members","value":` + member(a) + `}`, sorted(a, c), ""},
		{"replace without a path", `{"op":"replace","value":{"members":[` + add(c) + `],"displayName":"Renamed"}}`, c, "Renamed"},
		{"replace by none", `{"op":"replace","path":"members","value":[]}`, "", ""},
		{"add none", `{"op":"add","path":"members","value":[]}`, sorted(a, b), ""},
		{"add one who is there", `{"op":"add","path":"members","value":[` + add(a) + `]}`, sorted(a, b), ""},
		{"remove one who is not there", `{"op":"remove","path":"members[value eq \"` + c + `\"]"}`, sorted(a, b), ""},
		{"remove somebody unknown", `{"op":"remove","path":"members[value eq \"nobody\"]"}`, sorted(a, b), ""},
		{"remove two", `{"op":"remove","path":"members[value eq \"` + a + `\" or value eq \"` + b + `\"]"}`, "", ""},
		{"remove by name", `{"op":"remove","path":"members[display sw \"a \"]"}`, b, ""},
		{"remove those who are added", `{"op":"add","path":"members","value":[` + add(c) + `]},{"op":"remove","path":"members[value eq \"` + c + `\"]"}`, sorted(a, b), ""},
		{"remove all", `{"op":"remove","path":"members"}`, "", ""},
		{"remove all, and add", `{"op":"remove","path":"members"},{"op":"add","path":"members","value":[` + add(a, c) + `]}`, sorted(a, c), ""},
		{"unknown attributes", `{"op":"add","path":"description","value":"x"}`, sorted(a, b), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fixture{Handler: f.Handler, t: t, token: f.token}
			id := f.do("POST", "/Groups", `{"displayName":"Group","members":[`+add(a, b)+`]}`).want(201).id()
			f.do("PATCH", "/Groups/"+id, patch(row.operations)).want(204)
			if got := f.members(id); got != row.members {
				t.Errorf("members %s, want %s", got, row.members)
			}
			if row.display == "" {
				row.display = "Group"
			}
			f.do("GET", "/Groups/"+id+"?attributes=displayName", "").want(200).has("displayName", row.display, "meta", "")
			f.do("DELETE", "/Groups/"+id, "").want(204)
		})
	}

	id := f.do("POST", "/Groups", `{"displayName":"Group","members":[`+add(a, b)+`]}`).want(201).id()
	f.do("POST", "/Groups", `{"displayName":"Taken"}`).want(201)
	for _, row := range []struct {
		name, operation, scimType string
		status                    int
	}{
		{"nobody", `{"op":"add","path":"members","value":[{"value":"nobody"}]}`, "invalidValue", 400},
		{"another account's", `{"op":"add","path":"members","value":[{"value":"` + string(f.eve.ID) + `"}]}`, "invalidValue", 400},
		{"no id", `{"op":"add","path":"members","value":[{"display":"x"}]}`, "invalidValue", 400},
		{"no object", `{"op":"add","path":"members","value":["x"]}`, "invalidValue", 400},
		{"part", `{"op":"replace","path":"members[value eq \"` + a + `\"].display","value":"x"}`, "mutability", 400},
		{"replace one", `{"op":"replace","path":"members[value eq \"` + a + `\"]","value":` + member(c) + `}`, "mutability", 400},
		{"no name", `{"op":"remove","path":"displayName"}`, "invalidValue", 400},
		{"read-only", `{"op":"replace","path":"meta","value":{}}`, "mutability", 400},
		{"name of another", `{"op":"replace","path":"displayName","value":"taken"}`, "uniqueness", 409},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fixture{Handler: f.Handler, t: t, token: f.token}
			f.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[`+add(c)+`]}`, row.operation)).fails(row.status, row.scimType)
		})
	}
	if got := f.members(id); got != sorted(a, b) {
		t.Errorf("after failed changes: %s", got)
	}
	f.do("PATCH", "/Groups/"+id+"?attributes=members.value", patch(`{"op":"add","path":"members","value":[`+add(c)+`]}`)).want(200).has("members/2/display", "", "displayName", "")
	f.do("PATCH", "/Groups/"+id, patch(`{"op":"remove","path":"members"}`), "If-Match", `"x"`).fails(412, "")
}

// TestGroupList: lists of groups, with filters and without members.
func TestGroupList(t *testing.T) {
	f := newFixture(t)
	ada, grace := f.create("ada"), f.create("grace")
	one := f.do("POST", "/Groups", `{"displayName":"One","externalId":"g1","members":[`+member(ada)+`,`+member(grace)+`]}`).want(201).id()
	f.do("POST", "/Groups", `{"displayName":"Two","members":[`+member(ada)+`]}`).want(201)
	f.do("POST", "/Groups", `{"displayName":"Three"}`).want(201)
	for filter, want := range map[string]int{
		`displayName eq "ONE"`:                                  1,
		`externalId eq "g1"`:                                    1,
		`id eq "` + one + `"`:                                   1,
		`id eq "` + one + `" and members eq "` + ada + `"`:      1,
		`id eq "` + one + `" and members eq "nobody"`:           0,
		`members.value eq "` + ada + `"`:                        2,
		`members[value eq "` + grace + `"]`:                     1,
		`not (members pr)`:                                      1,
		`displayName sw "t"`:                                    2,
		`displayName eq "One" or displayName eq "Two"`:          2,
		`displayName eq "` + strings.Repeat("x", 900) + `"`:     0,
		`id eq "` + string(f.eve.ID) + `"`:                      0,
		`meta.resourceType eq "Group" and meta.lastModified pr`: 0,
	} {
		f.do("GET", "/Groups?filter="+escape(filter), "").want(200).has("totalResults", want)
	}
	f.do("GET", "/Users?filter="+escape(`groups.display eq "one"`), "").want(200).has("totalResults", 2)
	f.do("GET", "/Groups?filter="+escape(`userName eq "x"`), "").fails(400, "invalidFilter")
	f.do("GET", "/Groups?count=2&excludedAttributes=members", "").want(200).has("totalResults", 3, "itemsPerPage", 2, "Resources/0/members", "")
	f.do("POST", "/Groups/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"displayName eq \"one\""}`).want(200).has("Resources/0/members/1/type", "User")
	f.as(f.foreign, "GET", "/Groups", "").want(200).has("totalResults", 0)
	for _, method := range []string{"GET", "DELETE", "PUT", "PATCH"} {
		body := map[string]string{"PUT": `{"displayName":"x"}`, "PATCH": patch(`{"op":"remove","path":"members"}`)}[method]
		mine, absent := f.as(f.foreign, method, "/Groups/"+one, body), f.as(f.foreign, method, "/Groups/absent", body)
		if mine.fails(404, "").text != absent.fails(404, "").text {
			t.Errorf("%s: responses distinguish groups of other accounts: %s %s", method, mine.text, absent.text)
		}
	}
	f.api.MaxScanned = 2
	f.do("GET", "/Groups/"+one, "").fails(400, "tooMany")
	f.do("GET", "/Groups/"+one+"?excludedAttributes=members", "").want(200)
	f.do("PATCH", "/Groups/"+one, patch(`{"op":"remove","path":"members[value eq \"`+ada+`\"]"}`)).want(204)
}

// TestManyMembers: a PATCH names thousands of members, and later removes them. The audit
// log has an event for each part.
func TestManyMembers(t *testing.T) {
	f := newFixture(t)
	n := 1200
	members := make([]string, n)
	for i := range members {
		u, err := f.api.Provisioner.Create(t.Context(), &provision.By{Account: f.account}, directory.User{Email: fmt.Sprintf("user%d@example.com", i)})
		apptest.Check(t, err)
		members[i] = member(string(u.ID))
	}
	id := f.do("POST", "/Groups", `{"displayName":"All"}`).want(201).id()
	began := time.Now()
	f.do("PATCH", "/Groups/"+id, patch(`{"op":"add","path":"members","value":[`+strings.Join(members, ",")+`]}`)).want(204)
	t.Logf("%d members added in %v", n, time.Since(began))
	if got := len(strings.Fields(f.members(id))); got != n {
		t.Errorf("%d members, want %d", got, n)
	}
	f.do("PUT", "/Groups/"+id+"?excludedAttributes=members", `{"displayName":"All","members":[`+strings.Join(members[:10], ",")+`]}`).want(200)
	if got := len(strings.Fields(f.members(id))); got != 10 {
		t.Errorf("%d members, want 10", got)
	}
}
