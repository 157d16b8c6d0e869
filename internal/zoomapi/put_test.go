package zoomapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

const (
	tooMany     = `{"code":429,"message":"Too many requests submitted to update the presence status of this user. Please wait for the request to be processed and try again later."}`
	failed      = `{"code":5301,"message":"Request to update the presence status of this user failed."}`
	forbidden   = `{"code":5411,"message":"Unauthorized request. You do not have permission to update the presence status of this user."}`
	badToken    = `{"code":124,"message":"Invalid access token."}`
	notObject   = `{"code":300,"message":"Request Body should be a valid JSON object."}`
	badStatus   = `{"code":300,"message":"Validation Failed.","errors":[{"field":"status","message":"Invalid field."}]}`
	needsUpdate = `{"code":4711,"message":"Invalid access token, does not contain scopes:[user:update:presence_status, user:update:presence_status:admin]."}`
)

func noUserBody(ref string) string {
	return `{"code":1001,"message":"User does not exist: ` + ref + `"}`
}

func invalidField(name, more string) string {
	return fmt.Sprintf(`{"code":300,"message":"Validation Failed.","errors":[{"field":"%s","message":"Invalid field. %s"}]}`, name, more)
}

func TestPutIsVisible(t *testing.T) {
	w := newFixture(t, options{})
	rec := w.put(w.app, string(w.ann.ID), `{"status":"Do_No_Disturb","duration":60}`)
	want(t, rec, 204, "")
	wantHeader(t, rec, "Content-Type", "")
	// The sign-in was in the same microsecond, so this revision is one higher.
	wantHeader(t, rec, "ETag", `"1795348800250001"`)

	rec = w.get(w.app, string(w.ann.ID))
	want(t, rec, 200, `{"status":"Do_Not_Disturb"}`)
	wantHeader(t, rec, "ETag", `"1795348800250001"`)
}

// TestPutStatuses: every status that an update may contain, and what GET returns for
// it.
func TestPutStatuses(t *testing.T) {
	w := newFixture(t, options{policy: func(p *presence.Policy) { p.MinInterval = 0 }})
	for _, word := range []struct{ put, get string }{
		{"Away", "Away"},
		{"Busy", "Busy"},
		{"Presenting", "Presenting"},
		{"Out_of_Office", "Out_of_Office"},
		{"Do_No_Disturb", "Do_Not_Disturb"},
		{"Do_Not_Disturb", "Do_Not_Disturb"},
		{"Do-Not_Disturb", "Do_Not_Disturb"},
		{"Do_Not-Disturb", "Do_Not_Disturb"},
		{"In_Calendar_Event", "In_A_Calendar_Event"},
		{"In_A_Calendar_Event", "In_A_Calendar_Event"},
		{"In_A_Zoom_Meeting", "In_A_Meeting"},
		{"In_A_Meeting", "In_A_Meeting"},
		{"In_Meeting", "In_A_Meeting"},
		{"On_A_Call", "In_A_Call"},
		{"In_A_Call", "In_A_Call"},
		{"On_Phone_Call", "In_A_Call"},
		{"Available", "Available"},
	} {
		want(t, w.put(w.app, string(w.ann.ID), `{"status":"`+word.put+`"}`), 204, "")
		want(t, w.get(w.app, string(w.ann.ID)), 200, `{"status":"`+word.get+`"}`)
	}
	for _, word := range []string{
		"Offline", "Mobile_signed_in", "available", "AVAILABLE", "Do_Not_Disturb ", " Away", "", "do_not_disturb",
		"Do Not Disturb", "Out_Of_Office", "In_A_Calendar", "null",
	} {
		want(t, w.put(w.app, string(w.ann.ID), `{"status":"`+word+`"}`), 400, badStatus)
	}
}

// multipartForm makes a multipart body and its content type.
func multipartForm(fields ...string) (kind, body string) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	_ = m.SetBoundary("xYzZY")
	for i := 0; i < len(fields); i += 2 {
		_ = m.WriteField(fields[i], fields[i+1])
	}
	_ = m.Close()
	return m.FormDataContentType(), b.String()
}

// TestPutBodies: every rule of every parser, with its exact answer.
func TestPutBodies(t *testing.T) {
	const (
		twice    = "It is given more than once."
		required = "It is required."
		minutes  = "It must be a whole number of minutes from 1 to 1440."
		badForm  = `{"code":300,"message":"Request Body should be valid multipart/form-data."}`
		badText  = `{"code":300,"message":"Request Body should be a form of valid UTF-8."}`
		types    = "this route reads application/json, multipart/form-data and application/x-www-form-urlencoded."
		jsonType = "application/json"
		urlType  = "application/x-www-form-urlencoded"
	)
	badURL := func(why string) string {
		return `{"code":300,"message":"Request Body should be valid application/x-www-form-urlencoded: it ` + why + `."}`
	}
	parts := func(fields ...string) [2]string {
		kind, body := multipartForm(fields...)
		return [2]string{kind, body}
	}
	raw := func(body string) [2]string {
		return [2]string{"multipart/form-data; boundary=b", strings.ReplaceAll(body, "\n", "\r\n")}
	}
	many := func(n int) (fields []string) {
		for range n {
			fields = append(fields, "other", "x")
		}
		return fields
	}
	cases := []struct {
		name   string
		body   [2]string // content type, body
		status int
		answer string
	}{
		{"plain", [2]string{jsonType, `{"status":"Away"}`}, 204, ""},
		{"charset", [2]string{"application/json; charset=UTF-8", `{"status":"Away"}`}, 204, ""},
		{"charset utf8", [2]string{"application/json; charset=utf8", `{"status":"Away"}`}, 204, ""},
		{"charset us-ascii, quoted", [2]string{`application/json;charset="US-ASCII"`, `{"status":"Away"}`}, 204, ""},
		{
			"another charset",
			[2]string{"application/json; charset=latin1", `{"status":"Away"}`},
			415,
			`{"code":415,"message":"The charset \"latin1\" is not supported; send the body in UTF-8."}`,
		},
		{"white space", [2]string{jsonType, "\r\n\t { \"status\" : \"Away\" } \n"}, 204, ""},
		{"escapes", [2]string{jsonType, `{"st\u0061tus":"Aw\u0061y"}`}, 204, ""},
		{"unknown members", [2]string{jsonType, `{"a":[1,null,{"b":null}],"status":"Away","c":-1.5e+400}`}, 204, ""},
		{"unknown member twice", [2]string{jsonType, `{"status":"Away","c":[{"d":1,"d":2}]}`}, 400, invalidField("c[0].d", twice)},
		{"no content type", [2]string{"", ` {"status":"Away"}`}, 204, ""},
		{"no content type, no JSON", [2]string{"", `status=Away`}, 415, `{"code":415,"message":"The body has the media type \"\"; ` + types + `"}`},
		{"no content type, no body", [2]string{"", ""}, 400, notObject},
		{"no content type, array", [2]string{"", "[]"}, 400, notObject},
		{
			"text",
			[2]string{"text/plain;charset=UTF-8", `{"status":"Away"}`},
			415,
			`{"code":415,"message":"The body has the media type \"text/plain;charset=UTF-8\"; ` + types + `"}`,
		},
		{
			"no media type at all",
			[2]string{"a/b/c", `{"status":"Away"}`},
			415,
			`{"code":415,"message":"The Content-Type \"a/b/c\" cannot be parsed."}`,
		},

		{"empty", [2]string{jsonType, ""}, 400, notObject},
		{"truncated", [2]string{jsonType, `{"status":"Away"`}, 400, notObject},
		{"trailing", [2]string{jsonType, `{"status":"Away"} {}`}, 400, notObject},
		{"trailing comma", [2]string{jsonType, `{"status":"Away",}`}, 400, notObject},
		{"byte order mark", [2]string{jsonType, "\ufeff" + `{"status":"Away"}`}, 204, ""},
		{"byte order mark, no content type", [2]string{"", "\ufeff" + `{"status":"Away"}`}, 204, ""},
		{"byte order mark, twice", [2]string{jsonType, "\ufeff\ufeff" + `{"status":"Away"}`}, 400, notObject},
		{"array", [2]string{jsonType, `[{"status":"Away"}]`}, 400, notObject},
		{"string", [2]string{jsonType, `"Away"`}, 400, notObject},
		{"null", [2]string{jsonType, `null`}, 400, notObject},
		{"single quotes", [2]string{jsonType, `{'status':'Away'}`}, 400, notObject},
		{"bare key", [2]string{jsonType, `{status:"Away"}`}, 400, notObject},
		{"invalid UTF-8", [2]string{jsonType, "{\"status\":\"Away\",\"x\":\"\xff\"}"}, 400, notObject},
		{"invalid UTF-8 in a key", [2]string{jsonType, "{\"status\":\"Away\",\"\xc3\":1}"}, 400, notObject},
		{"half a surrogate pair", [2]string{jsonType, `{"status":"Away","x":"\ud83d"}`}, 400, notObject},
		{"depth 16", [2]string{jsonType, `{"status":"Away","x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`}, 204, ""},
		{"depth 17", [2]string{jsonType, `{"status":"Away","x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`}, 400, notObject},
		{"control character", [2]string{jsonType, "{\"status\":\"Away\n\"}"}, 400, notObject},

		{"no status", [2]string{jsonType, `{"duration":20}`}, 400, invalidField("status", required)},
		{"another case", [2]string{jsonType, `{"Status":"Away"}`}, 400, invalidField("status", required)},
		{"status twice", [2]string{jsonType, `{"status":"Away","status":"Away"}`}, 400, invalidField("status", twice)},
		{"status twice, escaped", [2]string{jsonType, `{"status":"Away","\u0073tatus":"Away"}`}, 400, invalidField("status", twice)},
		{"status null", [2]string{jsonType, `{"status":null}`}, 400, invalidField("status", required)},
		{"status number", [2]string{jsonType, `{"status":1}`}, 400, invalidField("status", "It must be a string.")},
		{"status array", [2]string{jsonType, `{"status":["Away"]}`}, 400, invalidField("status", "It must be a string.")},
		{"status object", [2]string{jsonType, `{"status":{"status":"Away"}}`}, 400, invalidField("status", "It must be a string.")},

		{"duration 1", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":1}`}, 204, ""},
		{"duration 1440", [2]string{jsonType, `{"duration":1440,"status":"Do_Not_Disturb"}`}, 204, ""},
		{"duration null", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":null}`}, 204, ""},
		{"duration null, twice", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":null,"duration":1}`}, 400, invalidField("duration", twice)},
		{"duration 0", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":0}`}, 400, invalidField("duration", minutes)},
		{"duration 1441", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":1441}`}, 400, invalidField("duration", minutes)},
		{"duration -1", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":-1}`}, 400, invalidField("duration", minutes)},
		{"duration 20.0", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":20.0}`}, 204, ""},
		{"duration 2e1", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":2e1}`}, 204, ""},
		{"duration 20.5", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":20.5}`}, 400, invalidField("duration", minutes)},
		{"duration 2e-1", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":2e-1}`}, 400, invalidField("duration", minutes)},
		{"duration -0", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":-0}`}, 400, invalidField("duration", minutes)},
		{"duration 1e400", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":1e400}`}, 400, invalidField("duration", minutes)},
		{"duration 1e999999999", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":1e999999999}`}, 400, invalidField("duration", minutes)},
		{"duration 2^64+20", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":18446744073709551636}`}, 400, invalidField("duration", minutes)},
		{"duration string", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":"20"}`}, 204, ""},
		{"duration string, escaped", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":"2\u0030"}`}, 204, ""},
		{"duration string 020", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":"020"}`}, 400, invalidField("duration", minutes)},
		{"duration string, space", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":" 20"}`}, 400, invalidField("duration", minutes)},
		{"duration string, empty", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":""}`}, 400, invalidField("duration", minutes)},
		{"duration array", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":[20]}`}, 400, invalidField("duration", minutes)},
		{"duration true", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":true}`}, 400, invalidField("duration", minutes)},
		{"duration 020", [2]string{jsonType, `{"status":"Do_Not_Disturb","duration":020}`}, 400, notObject},
		{"duration unread", [2]string{jsonType, `{"status":"Busy","duration":"Available1221"}`}, 204, ""},
		{"duration unread, twice", [2]string{jsonType, `{"status":"Busy","duration":1,"duration":2}`}, 400, invalidField("duration", twice)},

		{"form", [2]string{urlType, "status=Away&x=%20y"}, 204, ""},
		{"form, charset", [2]string{urlType + "; charset=utf-8", "status=Away"}, 204, ""},
		{"form, duration", [2]string{urlType, "duration=30&status=Do_Not_Disturb"}, 204, ""},
		{"form, duration 030", [2]string{urlType, "duration=030&status=Do_Not_Disturb"}, 400, invalidField("duration", minutes)},
		{"form, duration +30", [2]string{urlType, "duration=%2B30&status=Do_Not_Disturb"}, 400, invalidField("duration", minutes)},
		{"form, duration empty", [2]string{urlType, "duration=&status=Do_Not_Disturb"}, 204, ""},
		{"form, duration 2e1", [2]string{urlType, "duration=2e1&status=Do_Not_Disturb"}, 204, ""},
		{"form, duration 20.0", [2]string{urlType, "duration=20.0&status=Do_Not_Disturb"}, 204, ""},
		{"form, duration 20.5", [2]string{urlType, "duration=20.5&status=Do_Not_Disturb"}, 400, invalidField("duration", minutes)},
		{"form, status empty", [2]string{urlType, "status="}, 400, invalidField("status", required)},
		{"form, byte order mark", [2]string{urlType, "\ufeffstatus=Away"}, 204, ""},
		{"form, 100 parameters", [2]string{urlType, "status=Away" + strings.Repeat("&x", 99)}, 204, ""},
		{"form, 101 parameters", [2]string{urlType, "status=Away" + strings.Repeat("&x", 100)}, 400, badURL("has more than 100 parameters")},
		{"form, thousands of parameters", [2]string{urlType, strings.Repeat("&", 60_000)}, 400, badURL("has more than 100 parameters")},
		{"form, duration null", [2]string{urlType, "duration=null&status=Do_Not_Disturb"}, 400, invalidField("duration", minutes)},
		{"form, duration unread", [2]string{urlType, "duration=Available1221&status=Available"}, 204, ""},
		{"form, empty", [2]string{urlType, ""}, 400, invalidField("status", required)},
		{"form, status twice", [2]string{urlType, "status=Away&status=Away"}, 400, invalidField("status", twice)},
		{"form, duration twice", [2]string{urlType, "status=Away&duration=1&duration=1"}, 400, invalidField("duration", twice)},
		{"form, unknown word", [2]string{urlType, "status=Offline"}, 400, badStatus},
		{"form, bad escape", [2]string{urlType, "status=%zz"}, 400, badURL("is not well-formed")},
		{"form, semicolon", [2]string{urlType, "status=Away;duration=1"}, 400, badURL("is not well-formed")},
		{"form, invalid UTF-8", [2]string{urlType, "status=Away&x=%ff"}, 400, badURL("is not UTF-8")},
		{
			"form, JSON",
			[2]string{urlType, `{"status":"Away"}`},
			400,
			invalidField("status", required+" The body looks like JSON: send it with Content-Type: application/json."),
		},

		{"parts", parts("status", "Away"), 204, ""},
		{"parts of the source document", parts("status", "Available", "duration", "Available1221"), 204, ""},
		{"parts, do-not-disturb with nonsense", parts("status", "Do_Not_Disturb", "duration", "Available1221"), 400, invalidField("duration", minutes)},
		{"parts, duration", parts("status", "Do_No_Disturb", "duration", "1440"), 204, ""},
		{"parts, duration empty", parts("status", "Do_No_Disturb", "duration", ""), 204, ""},
		{"parts, duration 20.0", parts("status", "Do_No_Disturb", "duration", "20.0"), 204, ""},
		{"parts, status empty", parts("status", ""), 400, invalidField("status", required)},
		{"parts, none", parts(), 400, invalidField("status", required)},
		{"parts, no body", [2]string{"multipart/form-data; boundary=b", ""}, 400, badForm},
		{"parts, other", parts("other", "x"), 400, invalidField("status", required)},
		{"parts, status twice", parts("status", "Away", "status", "Away"), 400, invalidField("status", twice)},
		{"parts, 32", parts(append(many(31), "status", "Away")...), 204, ""},
		{"parts, 33", parts(append(many(32), "status", "Away")...), 400, `{"code":300,"message":"Request Body should have at most 32 parts."}`},
		{
			"parts, no boundary",
			[2]string{"multipart/form-data", "--b\r\n"},
			400,
			`{"code":300,"message":"Request Body should be valid multipart/form-data: the Content-Type names no boundary."}`,
		},
		{"parts, another boundary", [2]string{"multipart/form-data; boundary=c", parts("status", "Away")[1]}, 400, badForm},
		{"parts, truncated", raw("--b\nContent-Disposition: form-data; name=status\n\nAw"), 400, badForm},
		{
			"parts, file", raw("--b\nContent-Disposition: form-data; name=status; filename=a\n\nAway\n--b--\n"), 400,
			invalidField("status", "It must be plain text, not a file."),
		},
		{
			"parts, encoded", raw("--b\nContent-Disposition: form-data; name=status\nContent-Transfer-Encoding: base64\n\nQXdheQ==\n--b--\n"), 400,
			invalidField("status", "It must be plain text, not a file."),
		},
		{"parts, another file", raw("--b\nContent-Disposition: form-data; name=x; filename=a\n\n\xff\n--b\nContent-Disposition: form-data; name=status\n\nAway\n--b--\n"), 204, ""},
		{"parts, invalid UTF-8", raw("--b\nContent-Disposition: form-data; name=status\n\n\xff\n--b--\n"), 400, badText},
		{
			"parts, mixed",
			[2]string{"multipart/mixed; boundary=b", ""},
			415,
			`{"code":415,"message":"The body has the media type \"multipart/mixed; boundary=b\"; ` + types + `"}`,
		},
	}
	w := newFixture(t, options{policy: func(p *presence.Policy) { p.MinInterval = 0 }})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := w.get(w.app, string(w.ann.ID)).Header().Get("ETag")
			want(t, w.do(call{method: "PUT", path: path(string(w.ann.ID)), token: w.app, kind: c.body[0], body: c.body[1]}), c.status, c.answer)
			if after := w.get(w.app, string(w.ann.ID)).Header().Get("ETag"); (after != before) != (c.status == 204) {
				t.Errorf("revision was %s, is %s", before, after)
			}
		})
	}
}

func TestPutBodySize(t *testing.T) {
	w := newFixture(t, options{policy: func(p *presence.Policy) { p.MinInterval = 0 }})
	body := func(n int) string {
		const frame = `{"status":"Away","x":""}`
		return `{"status":"Away","x":"` + strings.Repeat("x", n-len(frame)) + `"}`
	}
	want(t, w.put(w.app, string(w.ann.ID), body(64<<10)), 204, "")
	const tooLarge = `{"code":413,"message":"Request Body should have at most 65536 bytes."}`
	want(t, w.put(w.app, string(w.ann.ID), body(64<<10+1)), 413, tooLarge)

	rec := w.do(call{
		method: "PUT", path: path("me"), token: w.annToken, kind: "application/json", body: `{"status":"Away"}`,
		header: map[string]string{"Content-Encoding": "gzip"},
	})
	want(t, rec, 415, `{"code":415,"message":"The body has the media type \"content-encoding gzip\"; this route reads bodies that are not compressed."}`)
}

func TestPutPermissions(t *testing.T) {
	w := newFixture(t, options{policy: func(p *presence.Policy) { p.MinInterval = 0 }})
	w.signIn(w.owner.ID, presence.SignIn{Session: "owner-1", Client: presence.Desktop})
	deleted := w.User(w.account, "gone@example.com")
	w.publish(deleted.ID, presence.SetUserState{State: presence.UserActive})
	w.must(w.Directory.Delete(context.Background(), w.account, deleted.ID))
	w.publish(deleted.ID, presence.SetUserState{State: presence.UserDeleted})
	ann, ben, eve := string(w.ann.ID), string(w.ben.ID), string(w.eve.ID)
	for _, c := range []struct {
		name, token, ref string
		status           int
		answer           string
	}{
		{"no token", "", ann, 401, badToken},
		{"unknown token", "nonsense", ann, 401, badToken},
		{"a reader's token", w.annReads, "me", 400, needsUpdate},
		{"a token for nothing of ours", w.annNothing, "me", 400, needsUpdate},
		{"me", w.annToken, "me", 204, ""},
		{"own id", w.annToken, ann, 204, ""},
		{"own e-mail", w.annToken, "ann+desk@example.com", 204, ""},
		{"own e-mail in capitals", w.annToken, "ANN+DESK@EXAMPLE.COM", 204, ""},
		{"own e-mail, encoded", w.annToken, "ann%2Bdesk%40example.com", 204, ""},
		{"own e-mail, encoded twice", w.annToken, "ann%252Bdesk%2540example.com", 204, ""},
		{"another's id", w.annToken, ben, 400, forbidden},
		{"another's e-mail", w.annToken, "ben@example.com", 400, forbidden},
		{"another of whom nothing is recorded", w.annToken, string(w.cyd.ID), 400, forbidden},
		{"nobody's id", w.annToken, "nobody", 404, noUserBody("nobody")},
		{"nobody's e-mail", w.annToken, "nobody@example.com", 404, noUserBody("nobody@example.com")},
		{"a user of another account", w.annToken, eve, 404, noUserBody(eve)},
		{"an e-mail of another account", w.annToken, "eve@example.com", 404, noUserBody("eve@example.com")},
		{"a deleted user", w.annToken, string(deleted.ID), 404, noUserBody(string(deleted.ID))},

		{"app, id", w.app, ann, 204, ""},
		{"app, e-mail", w.app, "ben@example.com", 204, ""},
		{"app, me is the owner", w.app, "me", 204, ""},
		{"app without :admin, the owner", w.plainApp, "me", 204, ""},
		{"app without :admin, another", w.plainApp, ann, 400, forbidden},
		{"app, nobody", w.app, "nobody", 404, noUserBody("nobody")},
		{"app, the placeholder of the documentation", w.app, ":userId", 404, noUserBody(":userId")},
		{"app, what no id is", w.app, "%00%22", 404, noUserBody(`\u0000\"`)},
		{"app, another account", w.app, eve, 404, noUserBody(eve)},
		{"app, an e-mail of another account", w.app, "eve@example.com", 404, noUserBody("eve@example.com")},
		{"app, deleted", w.app, string(deleted.ID), 404, noUserBody(string(deleted.ID))},
		{"app, deleted, by e-mail", w.app, "gone@example.com", 404, noUserBody("gone@example.com")},
		{"app, me without an owner", w.eveApp, "me", 404, noUserBody("me")},
		{"app, signed out", w.app, string(w.cyd.ID), 400, failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, w.put(c.token, c.ref, `{"status":"Busy"}`), c.status, c.answer)
		})
	}
}

// TestPutErrorOrder: a request with several errors gets the first in the documented
// order.
func TestPutErrorOrder(t *testing.T) {
	w := newFixture(t, options{plan: Free})
	for range 2 { // the limit of Free for this second
		want(t, w.get(w.app, string(w.ben.ID)), 200, `{"status":"Available"}`)
	}
	bad := call{method: "PUT", path: path("nobody"), kind: "text/html", body: "x", token: "nonsense"}
	want(t, w.do(bad), 401, badToken)
	bad.token = w.annReads
	want(t, w.do(bad), 400, needsUpdate)
	bad.token = w.annToken
	const qps = `{"code":429,"message":"You have reached the maximum per-second rate limit for this API. Try again later."}`
	want(t, w.do(bad), 429, qps)
	w.clock.Advance(time.Minute)
	w.signIn(w.ann.ID, presence.SignIn{Session: "ann-1", Client: presence.Desktop})
	step := func(status int, answer string) {
		t.Helper()
		want(t, w.do(bad), status, answer)
		w.clock.Advance(time.Second)
	}
	step(415, `{"code":415,"message":"The body has the media type \"text/html\"; this route reads application/json, multipart/form-data and application/x-www-form-urlencoded."}`)
	bad.kind = "application/json"
	step(400, notObject)
	bad.body = `{"status":"Busy"}`
	bad.header = map[string]string{"If-Match": "1"}
	step(400, `{"code":300,"message":"If-Match must be \"*\" or a list of quoted entity tags."}`)
	bad.header = map[string]string{"If-Match": `"1"`, "Idempotency-Key": "k"}
	step(404, noUserBody("nobody"))
	bad.path = path(string(w.cyd.ID))
	step(400, forbidden)
	w.must(w.Directory.SetOwner(context.Background(), w.account, w.cyd.ID))
	bad.token = w.app
	step(412, `{"code":412,"message":"The condition of If-Match or If-None-Match does not hold."}`)
	bad.header = nil
	step(400, failed) // signed out
	w.signIn(w.cyd.ID, presence.SignIn{Session: "cyd-1", Client: presence.Desktop, Version: "5.2.9"})
	step(400, failed) // the client is too old
	w.signIn(w.cyd.ID, presence.SignIn{Session: "cyd-2", Client: presence.Desktop, Version: "5.3.0"})
	bad.header = map[string]string{"Idempotency-Key": "k"}
	step(204, "")
	step(204, "") // a repeat
	bad.header = nil
	step(429, tooMany)
}

func TestPutUpdateInterval(t *testing.T) {
	w := newFixture(t, options{})
	ann := string(w.ann.ID)
	want(t, w.put(w.app, ann, `{"status":"Do_Not_Disturb","duration":1}`), 204, "")
	for _, c := range []struct {
		after time.Duration
		retry string
	}{
		{time.Microsecond, "60"},
		{time.Second, "59"},
		{1500 * time.Millisecond, "59"},
		{59 * time.Second, "1"},
		{60*time.Second - time.Microsecond, "1"},
	} {
		w.clock.Advance(noon.Add(c.after).Sub(w.clock.Now()))
		rec := w.put(w.app, ann, `{"status":"Away"}`)
		want(t, rec, 429, tooMany)
		wantHeader(t, rec, "Retry-After", c.retry)
		wantHeader(t, rec, "X-RateLimit-Category", "Medium")
		wantHeader(t, rec, "X-RateLimit-Type", "")
	}
	w.clock.Advance(noon.Add(time.Minute).Sub(w.clock.Now()))
	want(t, w.put(w.app, ann, `{"status":"Away"}`), 204, "")
	want(t, w.get(w.app, ann), 200, `{"status":"Away"}`)
}

// TestPutOncePerMinute: of many concurrent updates one is accepted, whichever way the
// user is named.
func TestPutOncePerMinute(t *testing.T) {
	w := newFixture(t, options{})
	refs := []call{
		{path: path(string(w.ann.ID)), token: w.app},
		{path: path("ann+desk@example.com"), token: w.app},
		{path: path("ANN+desk@example.com"), token: w.annToken},
		{path: path("me"), token: w.annToken},
	}
	var accepted, refused atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range 100 {
		c := refs[i%len(refs)]
		c.method, c.kind, c.body = "PUT", "application/json", `{"status":"Busy"}`
		group.Go(func() {
			<-start
			switch rec := w.do(c); {
			case rec.Code == http.StatusNoContent:
				accepted.Add(1)
			case rec.Code == 429 && rec.Body.String() == tooMany+"\n":
				refused.Add(1)
			}
		})
	}
	close(start)
	group.Wait()
	if accepted.Load() != 1 || refused.Load() != 99 {
		t.Errorf("%d accepted and %d refused of 100", accepted.Load(), refused.Load())
	}
}

func TestPutConditions(t *testing.T) {
	w := newFixture(t, options{})
	put := func(body string, header ...string) call {
		c := call{method: "PUT", path: path("me"), token: w.annToken, kind: "application/json", body: body, header: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			c.header[header[i]] = header[i+1]
		}
		return c
	}
	first := w.do(put(`{"status":"Do_Not_Disturb"}`, "Idempotency-Key", "one"))
	want(t, first, 204, "")
	wantHeader(t, first, "Idempotency-Replayed", "")
	tag := first.Header().Get("ETag")

	w.clock.Advance(time.Second)
	w.publish(w.ann.ID, presence.SetNote{Text: "a later commit"})
	for _, same := range []call{
		put(`{"status":"Do_Not_Disturb"}`, "Idempotency-Key", "one"),
		put(`{"duration":20,"status":"Do_No_Disturb"}`, "Idempotency-Key", "one"),
		put(`{"status":"Do_Not_Disturb"}`, "Idempotency-Key", "one", "If-Match", `"1"`),
	} {
		again := w.do(same)
		want(t, again, 204, "")
		wantHeader(t, again, "Idempotency-Replayed", "true")
		wantHeader(t, again, "ETag", tag)
	}
	const reused = `{"code":422,"message":"The Idempotency-Key was used for a different request."}`
	want(t, w.do(put(`{"status":"Do_Not_Disturb","duration":21}`, "Idempotency-Key", "one")), 422, reused)
	want(t, w.do(put(`{"status":"Away"}`, "Idempotency-Key", "one")), 422, reused)
	want(t, w.do(put(`{"status":"Away"}`, "Idempotency-Key", "two")), 429, tooMany)
	const badKey = `{"code":300,"message":"Idempotency-Key must be given once and have 1 to 128 bytes."}`
	want(t, w.do(put(`{"status":"Away"}`, "Idempotency-Key", strings.Repeat("k", 129))), 400, badKey)

	w.clock.Advance(time.Minute)
	const stale = `{"code":412,"message":"The condition of If-Match or If-None-Match does not hold."}`
	want(t, w.do(put(`{"status":"Away"}`, "If-Match", tag)), 412, stale)
	current := w.get(w.annToken, "me").Header().Get("ETag")
	want(t, w.do(put(`{"status":"Away"}`, "If-Match", `"1", `+current, "Idempotency-Key", "two")), 204, "")
}

// TestPutRepeatOfAnotherApp: idempotency keys belong to the app that created them.
func TestPutRepeatOfAnotherApp(t *testing.T) {
	w := newFixture(t, options{})
	c := call{
		method: "PUT", path: path(string(w.ann.ID)), token: w.app, kind: "application/json", body: `{"status":"Busy"}`,
		header: map[string]string{"Idempotency-Key": "k"},
	}
	want(t, w.do(c), 204, "")
	c.token = w.annToken
	want(t, w.do(c), 429, tooMany)
}

func TestPutForms(t *testing.T) {
	w := newFixture(t, options{})
	body := url.Values{"status": {"Do_Not_Disturb"}, "duration": {"45"}}.Encode()
	want(t, w.do(call{
		method: "PUT", path: path("me"), token: w.annToken, kind: "application/x-www-form-urlencoded", body: body,
	}), 204, "")
	want(t, w.get(w.annToken, "me"), 200,
		`{"status":"Do_Not_Disturb","end_time":"2026-11-22T12:45:01Z","remaining_time":2700}`)
}

func TestPutStoreFails(t *testing.T) {
	for _, c := range []struct {
		err     error
		status  int
		answer  string
		headers map[string]string
	}{
		{
			store.ErrUnknown, 503, `{"code":503,"message":"The answer of the store was lost: the update may or may not have been made."}`,
			map[string]string{"X-Outcome": "unknown", "Retry-After": ""},
		},
		{
			fmt.Errorf("commit: %w", store.ErrFull), 507, `{"code":507,"message":"The disk is almost full: nothing is written until space is free."}`,
			map[string]string{"Retry-After": "5", "X-Outcome": ""},
		},
		{store.ErrFailed, 503, `{"code":503,"message":"The store failed. Try again later."}`, map[string]string{"Retry-After": "5"}},
		{store.ErrClosed, 503, `{"code":503,"message":"The server is shutting down. Try again later."}`, map[string]string{"Retry-After": "5"}},
		{fmt.Errorf("a secret detail"), 500, `{"code":500,"message":"Internal server error."}`, map[string]string{"Retry-After": ""}},
	} {
		w := newFixture(t, options{})
		w.store.fail = c.err
		rec := w.put(w.app, string(w.ann.ID), `{"status":"Busy"}`)
		want(t, rec, c.status, c.answer)
		wantHeader(t, rec, "Content-Type", "application/json")
		for name, value := range c.headers {
			wantHeader(t, rec, name, value)
		}
		want(t, w.get(w.app, string(w.ann.ID)), c.status, c.answer)
	}
}

// TestPutAfterLostAnswer: after a lost answer, a repeat with the same key gets the
// answer of the first request.
func TestPutAfterLostAnswer(t *testing.T) {
	w := newFixture(t, options{})
	c := call{
		method: "PUT", path: path("me"), token: w.annToken, kind: "application/json", body: `{"status":"Busy"}`,
		header: map[string]string{"Idempotency-Key": "k"},
	}
	w.store.fail, w.store.applies = store.ErrUnknown, true
	wantHeader(t, w.do(c), "X-Outcome", "unknown")
	w.store.fail = nil
	want(t, w.do(c), 204, "")
	want(t, w.get(w.annToken, "me"), 200, `{"status":"Busy"}`)
}

func TestPutDeactivated(t *testing.T) {
	w := newFixture(t, options{})
	w.publish(w.ben.ID, presence.SetUserState{State: presence.UserDeactivated})
	want(t, w.put(w.app, string(w.ben.ID), `{"status":"Busy"}`), 400, failed)
	want(t, w.get(w.app, string(w.ben.ID)), 200, `{"status":"Offline"}`)
}

// TestPutRefusalIsLogged: the access log has the code and the reason of a refusal, also
// where the response is the same for several reasons.
func TestPutRefusalIsLogged(t *testing.T) {
	var log bytes.Buffer
	t.Run("requests", func(t *testing.T) { // whose end closes the log
		w := newFixture(t, options{access: &log})
		cyd := string(w.cyd.ID)
		want(t, w.put(w.app, cyd, `{"status":"Busy"}`), 400, failed)
		w.signIn(w.cyd.ID, presence.SignIn{Session: "cyd-1", Client: presence.Desktop, Version: "5.2.9"})
		want(t, w.put(w.app, cyd, `{"status":"Busy"}`), 400, failed)
		w.publish(w.cyd.ID, presence.SetUserState{State: presence.UserDeactivated})
		want(t, w.put(w.app, cyd, `{"status":"Busy"}`), 400, failed)
		want(t, w.put(w.annReads, "me", `{"status":"Busy"}`), 400, needsUpdate)
		want(t, w.put(w.app, string(w.ann.ID), `{"status":"Busy"}`), 204, "")
	})
	type line struct{ Code, Err string }
	var got []line
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got = append(got, l)
	}
	if want := []line{
		{"5301", "the user is not signed in: sign the user in, or set signed-in-rule to off"},
		{"5301", "the user's client is too old for this change of status: update the client, or set legacy-transitions to false"},
		{"5301", "the user is deactivated"},
		{"4711", "the token needs one of the scopes user:update:presence_status, user:update:presence_status:admin"},
		{},
	}; !slices.Equal(got, want) {
		t.Errorf("logged\n%+v, want\n%+v", got, want)
	}
}

// TestPutDespiteFullLimits: a PUT succeeds even if other apps have used all their
// claims.
func TestPutDespiteFullLimits(t *testing.T) {
	w := newFixture(t, options{})
	for i := range presence.MaxClaims {
		w.publish(w.ann.ID, presence.SetClaim{
			ID: presence.ClaimID(fmt.Sprint("event-", i)), Source: presence.Calendar, Status: presence.InCalendarEvent,
			App: presence.AppID(fmt.Sprint("app-", i/presence.MaxClaimsPerApp)),
		})
	}
	want(t, w.put(w.annToken, "me", `{"status":"Do_Not_Disturb"}`), 204, "")
	want(t, w.get(w.app, string(w.ann.ID)), 200, `{"status":"Do_Not_Disturb"}`)
	w.clock.Advance(time.Minute)
	want(t, w.put(w.app, string(w.ann.ID), `{"status":"Busy"}`), 204, "")
}
