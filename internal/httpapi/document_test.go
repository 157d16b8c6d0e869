package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/zoomapi"
)

// TestDocumentDescribesZoomsRoutes calls Zoom's routes and the OAuth endpoints in the
// documented ways, and the validator checks the responses. Packages zoomapi and auth
// test their behaviour.
func TestDocumentDescribesZoomsRoutes(t *testing.T) {
	w := newWorld(t)
	zoom := &zoomapi.API{
		Auth: w.authority, Directory: w.directory, Publisher: w.api.Publisher, Views: w.api.Views, Clock: w.clock,
	}
	zoom.Mount(w.router)
	admin, own := w.admin(), w.token(w.alice.ID, "claim:write presence:read")
	const path = "/v2/users/alice@example.com/presence_status"
	w.do("PUT", path, admin, `{"status":"Busy"}`).want(400)
	w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"desktop","lease_seconds":3600}`)
	for _, body := range []struct{ media, text string }{
		{"application/json", `{"status":"Do_No_Disturb","duration":20,"other":true}`},
		{"application/json", `{"status":"Available","duration":null}`},
		{"application/x-www-form-urlencoded", "status=Do_Not-Disturb&duration=30"},
		{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"status\"\r\n\r\nAvailable\r\n--x\r\n" +
			"Content-Disposition: form-data; name=\"duration\"\r\n\r\nAvailable1221\r\n--x--\r\n"},
		{"application/json", `{"status":"Do_Not_Disturb"}`},
	} {
		w.do("PUT", path, admin, body.text, "Content-Type", body.media).want(http.StatusNoContent)
		w.do("PUT", path, admin, body.text, "Content-Type", body.media).want(http.StatusTooManyRequests)
		w.advance(60e9)
	}
	w.do("GET", path, own, "").want(200)
	w.do("GET", path, admin, "").want(200)
	w.do("GET", path, "", "").want(401)
	w.do("GET", "/v2/users/nobody/presence_status", admin, "").want(404)
	w.do("GET", path, w.token(w.alice.ID, "session:read"), "").want(400)
	w.do("PUT", path, admin, `{"status":"Asleep"}`).want(400)
	w.do("PUT", path, admin, `{"status":"Busy"}`, "If-Match", `"1"`).want(412)
	w.do("PUT", path, admin, `<status/>`, "Content-Type", "text/xml").want(415)
	w.do("PUT", path, admin, strings.Repeat(" ", 1<<16+1)).want(413)
}

func TestDocumentDescribesZoomsContacts(t *testing.T) {
	w := newWorld(t)
	zoom := &zoomapi.API{Auth: w.authority, Directory: w.directory, Publisher: w.api.Publisher, Views: w.api.Views, Clock: w.clock}
	zoom.Mount(w.router)
	own := w.token(w.alice.ID, "contact:read contact:write")
	for _, contact := range []string{"bob", "owner"} {
		w.do("PUT", "/v1/users/me/contacts/"+contact+"@example.com", own, `{}`).want(200)
	}
	const search, mine = "/v2/contacts?search_key=example", "/v2/chat/users/me/contacts"
	w.do("GET", search, own, "").want(200)
	w.do("GET", search+"&page_size=25&query_presence_status=True&user_status=active&contact_types=1,2", own, "").want(200)
	w.do("GET", search+"&page_size=26", own, "").want(400)
	w.do("GET", search, "", "").want(401)
	w.do("GET", mine, own, "").want(200)
	var page struct {
		Next string `json:"next_page_token"`
	}
	w.do("GET", mine+"?page_size=1", own, "").want(200).read(&page)
	w.do("GET", mine+"?page_size=1&next_page_token="+page.Next, own, "").want(200)
	w.do("GET", mine+"?next_page_token=x", own, "").want(400)
	w.do("GET", mine+"?type=external", own, "").want(200)
	w.do("GET", mine+"/bob@example.com", own, "").want(200)
	w.do("GET", mine+"/bob@example.com?query_presence_status=true", own, "").want(200)
	w.do("GET", mine+"/nobody", own, "").want(404)
	w.do("GET", mine, w.token(w.alice.ID, "presence:read"), "").want(400)
}

func TestDocumentDescribesOAuth(t *testing.T) {
	w := newWorld(t)
	w.api.OAuth.Mount(w.router)
	app, secret := w.App(w.account, "presence:read:admin")
	const form = "application/x-www-form-urlencoded"
	body := url.Values{"client_id": {string(app.ID)}, "client_secret": {secret}}
	grant := func(more string) string { return body.Encode() + "&" + more }
	var got struct {
		Token string `json:"access_token"`
	}
	w.do("POST", "/oauth/token", "", grant("grant_type=account_credentials&account_id="+string(w.account)), "Content-Type", form).want(200).read(&got)
	w.do("POST", "/oauth/token?grant_type=client_credentials", "", grant(""), "Content-Type", form).want(200)
	w.do("POST", "/oauth/token", "", grant("grant_type=password"), "Content-Type", form).want(400)
	w.do("POST", "/oauth/token", "", "<x/>", "Content-Type", "text/xml").want(415)
	w.do("POST", "/oauth/devicecode", "", grant("scope=presence:read"), "Content-Type", form).want(200)
	w.do("POST", "/oauth/devicecode", "", grant("scope=claim:read"), "Content-Type", form).want(400)
	w.do("POST", "/oauth/revoke", "", grant("token="+got.Token), "Content-Type", form).want(200)
	w.do("POST", "/oauth/revoke", "", grant("token="+got.Token), "Content-Type", form).want(400)
}
