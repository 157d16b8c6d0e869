package httpapi_test

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// TestDocumentDescribesZoomsUsers calls Zoom's routes of users in the documented ways, and
// the validator checks the responses.
func TestDocumentDescribesZoomsUsers(t *testing.T) {
	w := newWorld(t)
	zoom := &zoomapi.API{
		Auth: w.authority, Directory: w.directory, Publisher: w.api.Publisher, Views: w.api.Views, Clock: w.clock,
		Users: &zoomapi.Users{Provisioner: w.api.Provisioner, Authority: w.authority},
	}
	zoom.Mount(w.router)
	admin, own := w.admin(), w.token(w.alice.ID, "directory:read directory:write")
	const users = "/v2/users"
	var page struct {
		Next string `json:"next_page_token"`
	}
	w.do("GET", users+"?page_size=1", admin, "").want(200).read(&page)
	w.do("GET", users+"?page_size=1&next_page_token="+page.Next, admin, "").want(200)
	w.do("GET", users+"?status=inactive&role_id=1&include_fields=host_key&license=x&page_number=2", admin, "").want(200)
	w.do("GET", users+"?page_size=2001", admin, "").want(400)
	w.do("GET", users, own, "").want(400)
	w.do("GET", users, "", "").want(401)

	const made = `{"action":"custCreate","user_info":{"email":"dan@example.com","type":2,"first_name":"Dan","last_name":null,"password":"x","feature":{}}}`
	w.do("POST", users, admin, made).want(201)
	w.do("POST", users, admin, made).want(409)
	w.do("POST", users, admin, `{}`).want(400)
	w.do("POST", users, admin, `<user/>`, "Content-Type", "text/xml").want(415)
	w.do("POST", users, admin, strings.Repeat(" ", 1<<16+1)).want(413)
	w.do("GET", users+"/email?email=dan@example.com", admin, "").want(200)
	w.do("GET", users+"/email", admin, "").want(400)

	const dan = users + "/dan@example.com"
	w.do("GET", dan, admin, "").want(200)
	w.do("GET", users+"/me", own, "").want(200)
	w.do("GET", dan, own, "").want(400)
	w.do("GET", users+"/nobody", admin, "").want(404)
	w.do("PATCH", dan, admin, `{"first_name":"Daniel","dept":"R&D","type":1,"company":"Example","last_name":null}`).want(204)
	w.do("PATCH", users+"/me", own, `{"display_name":"Alice"}`).want(204)
	w.do("PATCH", dan, admin, `{"first_name":1}`).want(400)
	w.do("PUT", dan+"/status", admin, `{"action":"deactivate"}`).want(204)
	w.do("PUT", dan+"/status", admin, `{"action":"clock_in"}`).want(400)
	w.do("PUT", dan+"/status", admin, `{"action":"activate"}`).want(204)
	w.do("PUT", dan+"/email", admin, `{"email":"bob@example.com"}`).want(409)
	w.do("PUT", dan+"/email", admin, `{"email":"daniel@example.com"}`).want(204)
	w.do("DELETE", dan, admin, "").want(404)
	w.do("DELETE", users+"/daniel@example.com?action=gone", admin, "").want(400)
	w.do("DELETE", users+"/daniel@example.com?action=delete", admin, "").want(204)
	w.do("DELETE", users+"/bob@example.com", admin, "").want(204)
	w.do("DELETE", users+"/me", admin, "").want(400)
}

func TestDocumentDescribesZoomsGroups(t *testing.T) {
	w := newWorld(t)
	zoom := &zoomapi.API{
		Auth: w.authority, Directory: w.directory, Publisher: w.api.Publisher, Views: w.api.Views, Clock: w.clock,
		Users: &zoomapi.Users{Provisioner: w.api.Provisioner, Authority: w.authority},
	}
	zoom.Mount(w.router)
	admin, own := w.admin(), w.token(w.alice.ID, "directory:read directory:write")
	g, err := w.directory.CreateGroup(t.Context(), w.account, directory.Group{Name: "Research"})
	w.must(err)
	group := "/v2/groups/" + g.ID
	w.do("POST", group+"/members", admin, `{"members":[{"email":"bob@example.com"},{"id":"`+string(w.alice.ID)+`"},{"id":"nobody"}]}`).want(201)
	w.do("POST", group+"/members", admin, `{"members":[]}`).want(400)
	w.do("POST", group+"/members", own, `{"members":[]}`).want(400)
	w.do("POST", group+"/members", admin, `<x/>`, "Content-Type", "text/xml").want(415)
	w.do("POST", "/v2/groups/none/members", admin, `{"members":[{"id":"x"}]}`).want(404)
	w.do("GET", "/v2/groups", admin, "").want(200)
	w.do("GET", "/v2/groups?page_size=1", admin, "").want(200)
	w.do("GET", "/v2/groups?page_size=0", admin, "").want(400)
	w.do("GET", group, admin, "").want(200)
	w.do("GET", "/v2/groups/none", admin, "").want(404)
	var page struct {
		Next string `json:"next_page_token"`
	}
	w.do("GET", group+"/members?page_size=1", admin, "").want(200).read(&page)
	w.do("GET", group+"/members?page_size=1&next_page_token="+page.Next, admin, "").want(200)
	w.do("GET", group+"/members?page_number=2", admin, "").want(200)
	w.do("GET", "/v2/groups/none/members", admin, "").want(404)
	w.do("GET", "/v2/users", admin, "").want(200)
	w.do("GET", "/v2/users/bob@example.com", admin, "").want(200)
	w.do("DELETE", group+"/members/bob@example.com", admin, "").want(204)
	w.do("DELETE", group+"/members/nobody", admin, "").want(404)
	w.do("DELETE", group+"/members/bob@example.com", "", "").want(401)
}
