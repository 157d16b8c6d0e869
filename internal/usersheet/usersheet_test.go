package usersheet_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/directory"
	. "porchlight.dev/porchlight/internal/usersheet"
)

// readUsers reads a list, without the lines that are refused.
func readUsers(t *testing.T, text string) (users []directory.User) {
	t.Helper()
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		var header *HeaderError
		if !errors.As(err, &header) {
			t.Fatalf("the header: %v", err)
		}
		return nil
	}
	line := 1
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return users
		}
		var refused *RowError
		if errors.As(err, &refused) {
			continue
		}
		if err != nil || row.Line <= line {
			t.Fatalf("after line %d: %+v, %v", line, row, err)
		}
		line = row.Line
		u := directory.User{Email: row.Email()}
		active, err := row.Active()
		if err == nil && row.Edit(&u) == nil {
			u.Active = active != nil && *active
			users = append(users, u)
		}
	}
}

// FuzzReader: a list that is read and written again has the same users, no cell that a
// spreadsheet program takes for a formula, and no error but those that have a line.
func FuzzReader(f *testing.F) {
	for _, text := range []string{
		"email,first_name\nada@example.com,Ada\n",
		"\ufeffEmail;Groups;Active\r\nada@example.com;\"a;b\\;c\\\\\";TRUE\r\n\r\n;;\r\n",
		"email\tdisplay_name\trole\nada@example.com\t\"two\nlines\"\tadmin\n",
		"email,last_name,department,external_id\na@example.com,=1+1,'@x,''-1\n\"a\"b,c\n",
		"email,active\na@example.com,maybe\nb@example.com\n",
		"first_name\nx\n", "email,email\n", "\"email", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		users := readUsers(t, text)
		var out bytes.Buffer
		w := NewWriter(&out)
		for i := range users {
			w.Write(&users[i])
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		written, err := csv.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, cells := range written {
			for _, cell := range cells {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					t.Errorf("the cell %q is a formula", cell)
				}
			}
		}
		if strings.Contains(text, "\r") {
			return // line breaks in cells are read as line feeds, and are not of valid users
		}
		if again := readUsers(t, out.String()); !reflect.DeepEqual(again, users) {
			t.Errorf("%q\nread %+v\nthen %+v", text, users, again)
		}
	})
}
