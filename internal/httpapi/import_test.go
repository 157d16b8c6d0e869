package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// imports sends a list, and returns the errors and the result.
func (w *world) imports(token, query, list string) (refused []api.ImportEvent, result api.ImportEvent) {
	w.t.Helper()
	x := w.do("POST", "/v1/users/import"+query, token, list, "Content-Type", "text/csv").want(200)
	for line := range strings.Lines(x.body) {
		var event api.ImportEvent
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Fatalf("%v: %s", err, line)
		}
		switch event.Type {
		case api.ImportError:
			refused = append(refused, event)
		case api.ImportResult:
			result = event
		}
	}
	if !result.Complete {
		w.t.Errorf("the import is not complete: %s", x.body)
	}
	return refused, result
}

func (w *world) expectImport(token, query, list string, want api.ImportCounts) {
	w.t.Helper()
	if refused, result := w.imports(token, query, list); *result.ImportCounts != want {
		w.t.Errorf("%+v, want %+v; refused: %+v", *result.ImportCounts, want, refused)
	}
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	list := "\ufeffgroups;email;display_name;ROLE;active;external_id\r\n" +
		"\"Support;Night; Back\\;office\";ann@example.com;\"Ann \"\"A\"\" O'Hara, MD\";admin;true;x1\r\n" +
		";;;;;\r\n" +
		"support;ben@example.com;Bén;;;\r\n" +
		";cem@example.com;'=1+1;member;false;\r\n"
	w.expectImport(admin, "?dry_run=true", list, api.ImportCounts{Rows: 3, Created: 3})
	w.do("GET", "/v1/users/ann@example.com", admin, "").problem(&api.NoUser)
	w.expectImport(admin, "", list, api.ImportCounts{Rows: 3, Created: 3})
	w.expectImport(admin, "", list, api.ImportCounts{Rows: 3, Unchanged: 3})
	var ann, cem api.User
	w.do("GET", "/v1/users/ann@example.com", admin, "").want(200).read(&ann)
	w.do("GET", "/v1/users/cem@example.com", admin, "").want(200).read(&cem)
	if ann.Role != "admin" || ann.ExternalID != "x1" || ann.DisplayName != `Ann "A" O'Hara, MD` || !slices.Equal(ann.Groups, []string{"Support", "Night", "Back;office"}) {
		t.Errorf("%+v", ann)
	}
	if cem.Active || cem.DisplayName != "=1+1" {
		t.Errorf("%+v", cem)
	}
	w.do("GET", "/v1/users/ann@example.com/presence", admin, "").want(200)

	// A column that is missing changes nothing, and an empty cell empties its field.
	w.expectImport(admin, "", "email,department,groups\nANN@example.com,Sales,\nben@example.com,,Support\n", api.ImportCounts{Rows: 2, Updated: 1, Unchanged: 1})
	w.do("GET", "/v1/users/ann@example.com", admin, "").want(200).read(&ann)
	if ann.Email != "ann@example.com" || ann.Department != "Sales" || len(ann.Groups) != 0 || ann.ExternalID != "x1" || ann.Role != "admin" {
		t.Errorf("%+v", ann)
	}
}

// A dry run and an import tell of every line that is refused, with its number.
func TestImportRefusesLines(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	list := "email,display_name,groups,role,active,external_id\n" +
		"ann@example.com,\"two\nlines\",,,,x1\n" + // 2: a name has one line
		"not an address,,,,,\n" + // 4
		"ben@example.com,Ben,,boss,,\n" +
		"cem@example.com,Cem,,,maybe,\n" +
		"dan@example.com,Dan,,,,x2\n" +
		"DAN@example.com,Dan,,,,\n" + // 8
		"eve@example.com,Eve,,,,x2\n" +
		"fay@example.com,Fay\n" + // 10
		"gil@example.com,G\xfcl,,,,\n" +
		"hal@example.com,Hal," + strings.Repeat("x", 65) + ",,,\n" + // 12
		"owner@example.com,,,,false,\n" +
		"ivy@example.com,a\"b,,,,\n" +
		"joe@example.com,Joe,,,,\n"
	want := map[int]string{
		2: "display_name", 4: "email", 5: "role", 6: "active", 8: "email", 9: "external_id", 10: "", 11: "display_name", 12: "groups[0]", 13: "", 14: "",
	}
	for _, query := range []string{"?dry_run=true", ""} {
		refused, result := w.imports(admin, query, list)
		got := make(map[int]string)
		for _, e := range refused {
			got[e.Line] = e.Field
			if e.Reason == "" {
				t.Errorf("line %d has no reason", e.Line)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: refused %v, want %v", query, got, want)
		}
		if counts := (api.ImportCounts{Rows: 13, Created: 2, Failed: 11}); *result.ImportCounts != counts {
			t.Errorf("%q: %+v, want %+v", query, *result.ImportCounts, counts)
		}
	}
}

func TestImportRefusesLists(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for list, detail := range map[string]string{
		"":                         "must be named in the first line",
		"email,phone\n":            `must not have "phone"; they are email, first_name`,
		"display_name\nAnn\n":      `must have "email"`,
		"email,EMAIL\n":            "twice",
		"email,d\xe9partement\n":   "CSV UTF-8",
		"\xff\xfee\x00m\x00\n\x00": "CSV UTF-8",
	} {
		if p := w.do("POST", "/v1/users/import", admin, list, "Content-Type", "text/csv").problem(&api.InvalidField); !strings.Contains(p.Detail, detail) {
			t.Errorf("%q: %s", list, p.Detail)
		}
	}
	w.do("POST", "/v1/users/import", admin, "email\n", "Content-Type", "application/json").problem(&api.UnsupportedMediaType)
	w.do("POST", "/v1/users/import", admin, "email\n", "Content-Type", "text/csv; charset=iso-8859-1").problem(&api.UnsupportedMediaType)
	w.do("POST", "/v1/users/import?dry_run=yes", admin, "email\n", "Content-Type", "text/csv").problem(&api.InvalidField)
}

// Who may not appoint administrators does not do it by a list.
func TestImportEscalation(t *testing.T) {
	w := newWorld(t)
	manager := w.token("", "directory:read:admin directory:write:admin")
	list := "email,role\nann@example.com,admin\nalice@example.com,admin\nbob@example.com,member\n"
	refused, result := w.imports(manager, "", list)
	if len(refused) != 2 || refused[0].Field != "role" || refused[1].Field != "role" || result.Unchanged != 1 {
		t.Errorf("%+v, %+v", refused, result)
	}
	w.do("GET", "/v1/users/ann@example.com", w.admin(), "").problem(&api.NoUser)
	w.expectImport(w.admin(), "", list, api.ImportCounts{Rows: 3, Created: 1, Updated: 1, Unchanged: 1})
	w.expectImport(manager, "", "email,role\nann@example.com,admin\n", api.ImportCounts{Rows: 1, Unchanged: 1})
	if refused, _ := w.imports(manager, "", "email,role\nann@example.com,member\n"); len(refused) != 1 {
		t.Errorf("an administrator was made a member: %+v", refused)
	}
}

// What is exported can be imported, and changes nothing; no cell is a formula.
func TestExportRoundTrip(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	names := []string{"=HYPERLINK(1)", "+1", "-1", "@x", "＝1", "'=1", "''@", "'quoted'", "a,b", `say "hi"`, "O'Hara", "x;y", `back\slash`, "Zoë"}
	for i, name := range names {
		body, _ := json.Marshal(api.CreateUser{
			Email: fmt.Sprintf("+u%d@example.com", i), FirstName: name, DisplayName: name, Department: name, Groups: []string{name, "All"}, ExternalID: name,
		})
		w.do("POST", "/v1/users", admin, string(body)).want(201)
	}
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"active":false}`).want(200)
	list := w.do("GET", "/v1/users/export", admin, "").want(200)
	if !strings.HasPrefix(list.header.Get("Content-Type"), "text/csv") {
		t.Errorf("%v", list.header)
	}
	for _, cell := range strings.FieldsFunc(list.body, func(r rune) bool { return r == ',' || r == '\n' }) {
		if strings.ContainsAny(strings.TrimLeft(cell, `"`)[:min(1, len(strings.TrimLeft(cell, `"`)))], "=+-@") {
			t.Errorf("the cell %s may be a formula", cell)
		}
	}
	rows := len(names) + 3
	w.expectImport(admin, "", list.body, api.ImportCounts{Rows: rows, Unchanged: rows})
	semicolons := strings.ReplaceAll(list.body, "\n", "\r\n")
	w.expectImport(admin, "", "\ufeff"+semicolons, api.ImportCounts{Rows: rows, Unchanged: rows})

	jsonl := w.do("GET", "/v1/users/export?format=jsonl", admin, "").want(200)
	seen := 0
	for line := range strings.Lines(jsonl.body) {
		var u api.User
		if err := json.Unmarshal([]byte(line), &u); err != nil || u.ID == "" {
			t.Errorf("%v: %s", err, line)
		}
		seen++
	}
	if seen != rows {
		t.Errorf("%d lines of JSON, want %d", seen, rows)
	}
	w.do("GET", "/v1/users/export?format=xls", admin, "").problem(&api.InvalidField)
}

// TestSlowSender: a client that sends its list slowly keeps nobody else waiting, and the
// number of those who do is limited.
func TestSlowSender(t *testing.T) {
	w := newWorld(t)
	var ends []func()
	begin := func(token string) {
		body, sender := io.Pipe()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/users/import", body)
		r.Header.Set("Content-Type", "text/csv")
		r.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		var ended sync.WaitGroup
		ended.Go(func() { w.router.ServeHTTP(answer, r) })           // the validator of the API document would read the body itself
		if _, err := io.WriteString(sender, "email\n"); err != nil { // it returns when the server reads
			t.Fatal(err)
		}
		ends = append(ends, func() {
			_, err := io.WriteString(sender, "late@example.com\n")
			w.must(errors.Join(err, sender.Close()))
			ended.Wait()
			if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `"complete":true`) {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		})
	}
	slow := w.token(w.alice.ID, "directory:write:admin")
	begin(slow)
	w.do("POST", "/v1/users/import", slow, "email\n", "Content-Type", "text/csv").problem(&api.Unavailable)
	w.expectImport(w.admin(), "", "email\nann@example.com\n", api.ImportCounts{Rows: 1, Created: 1})
	for _, user := range []presence.UserID{w.bob.ID, w.owner} {
		begin(w.token(user, "directory:write:admin"))
	}
	begin(w.admin())
	more, err := w.directory.Create(t.Context(), w.account, directory.User{Email: "more@example.com", Active: true})
	w.must(err)
	w.do("POST", "/v1/users/import", w.token(more.ID, "directory:write:admin"), "email\n", "Content-Type", "text/csv").problem(&api.Unavailable)
	for i := range ends {
		defer ends[i]()
	}
}

// TestImportedNames: new users of a list without display names are shown by their names.
func TestImportedNames(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.expectImport(admin, "", "email,first_name,last_name\nann@example.com,Ann,Ng\nalice@example.com,Alice,Liddell\n", api.ImportCounts{Rows: 2, Created: 1, Updated: 1})
	w.expectImport(admin, "", "email,first_name,display_name\nben@example.com,Ben,\n", api.ImportCounts{Rows: 1, Created: 1})
	for email, want := range map[string]string{"ann@example.com": "Ann Ng", "alice@example.com": w.alice.DisplayName, "ben@example.com": ""} {
		var u api.User
		if w.do("GET", "/v1/users/"+email, admin, "").want(200).read(&u); u.DisplayName != want {
			t.Errorf("%s is shown as %q, want %q", email, u.DisplayName, want)
		}
	}
}

// An export has the users whom the filters of the list select, also if they are found only
// after a page without any.
func TestExportFiltered(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var many strings.Builder
	many.WriteString("email,groups\n")
	for n := range 6000 {
		fmt.Fprintf(&many, "u%d@example.com,%s\n", n, []string{"Most", "Few"}[(n+1)/6000])
	}
	w.expectImport(admin, "", many.String(), api.ImportCounts{Rows: 6000, Created: 6000})
	w.do("PATCH", "/v1/users/u7@example.com", admin, `{"active":false}`).want(200)
	for query, want := range map[string]int{"group=few": 1, "query=u77+example": 11, "active=false": 1, "email=u7@example.com": 1, "role=admin": 0, "": 6003} {
		list := w.do("GET", "/v1/users/export?format=jsonl&"+query, admin, "").want(200)
		if got := strings.Count(list.body, "{"); got != want {
			t.Errorf("%s: %d users, want %d", query, got, want)
		}
	}
	w.do("GET", "/v1/users/export?role=emperor", admin, "").problem(&api.InvalidField)
	w.do("GET", "/v1/users/export?group=", admin, "").problem(&api.InvalidField)
}
