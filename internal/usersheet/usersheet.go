// Package usersheet reads and writes lists of users as CSV, as spreadsheet programs have
// them: with a byte order mark, semicolons or tabs instead of commas, and line feeds in
// quotes.
//
// It is separate from httpapi, which serves such lists, because it needs no request, and
// from provision, which does not know where users come from. It guarantees that what
// Writer writes, Reader reads as the same users, and that a spreadsheet program takes no
// cell of it for a formula.
//
// It must not decide which users are valid: the directory does.
package usersheet

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// Columns are the columns of a list, in the order in which a Writer has them.
var columns = [...]string{
	"email", "first_name", "last_name", "display_name", "department", "groups", "role", "active", "external_id",
}

const byteOrderMark = "\ufeff"

// A Row is a line of a list.
type Row struct {
	Line  int // where it begins, from 1
	cells []string
	at    *[len(columns)]int // the index of each column in cells; negative: the list has it not
}

// A Reader reads a list.
type Reader struct {
	csv *csv.Reader
	at  [len(columns)]int
}

// A HeaderError: the first line of a list is wrong, and so nothing of it can be read. Reason
// goes with the field "columns".
type HeaderError struct{ Reason string }

func (e *HeaderError) Error() string { return e.Reason }

const notUTF8 = `is not UTF-8 text: save the file as "CSV UTF-8"`

// NewReader reads the header of a list: names of columns, in any order.
func NewReader(from io.Reader) (*Reader, error) {
	buffered := bufio.NewReaderSize(from, 64<<10)
	if mark, err := buffered.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
		_, _ = buffered.Discard(len(byteOrderMark)) // they are buffered
	}
	start, _ := buffered.Peek(4 << 10) // an error comes again when it is read
	r := &Reader{csv: csv.NewReader(buffered)}
	r.csv.Comma = separator(start)
	header, err := r.csv.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, &HeaderError{"must be named in the first line, and are " + strings.Join(columns[:], ", ")}
	case err != nil:
		return nil, &HeaderError{"cannot be read: the first line " + reasonOf(err)}
	}
	return r, r.readHeader(header)
}

// separator is what separates the cells of the first line.
func separator(start []byte) rune {
	first, _, _ := bytes.Cut(start, []byte("\n"))
	best, most := ',', 0
	for _, r := range ",;\t" {
		if n := bytes.Count(first, []byte(string(r))); n > most {
			best, most = r, n
		}
	}
	return best
}

func (r *Reader) readHeader(header []string) error {
	for i := range r.at {
		r.at[i] = -1
	}
	for i, name := range header {
		if !utf8.ValidString(name) {
			return &HeaderError{"cannot be read: the first line " + notUTF8}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		column := slices.Index(columns[:], name)
		switch {
		case column < 0:
			return &HeaderError{fmt.Sprintf("must not have %q; they are %s", shorten(name), strings.Join(columns[:], ", "))}
		case r.at[column] >= 0:
			return &HeaderError{fmt.Sprintf("must not have %q twice", name)}
		}
		r.at[column] = i
	}
	if r.at[0] < 0 {
		return &HeaderError{`must have "email"`}
	}
	return nil
}

const maxShown = 40

func shorten(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// A RowError: a line cannot be read. The next one can.
type RowError struct {
	Line   int
	Field  string // "" for the whole line
	Reason string
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %s %s", e.Line, e.Field, e.Reason) }

// Read reads the next line that is not empty. It returns io.EOF at the end, and a RowError
// for a line that cannot be read; another error is the source's.
func (r *Reader) Read() (*Row, error) {
	for {
		cells, err := r.csv.Read()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, &RowError{Line: parse.StartLine, Reason: reasonOf(err)}
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.csv.FieldPos(0)
		if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
			continue
		}
		row := &Row{Line: line, cells: cells, at: &r.at}
		for column, at := range r.at {
			if at >= 0 && !utf8.ValidString(cells[at]) {
				return nil, &RowError{line, columns[column], notUTF8}
			}
		}
		return row, nil
	}
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return "has another number of cells than the first line"
	case errors.Is(err, csv.ErrQuote):
		return `has a quotation mark in the wrong place: a cell with one is quoted, and the mark in it is doubled`
	case errors.Is(err, csv.ErrBareQuote):
		return `has a quotation mark in a cell that is not quoted`
	default:
		return "cannot be read"
	}
}

// cell is the text of a column; ok is false if the list does not have it.
func (r *Row) cell(name string) (text string, ok bool) {
	at := r.at[slices.Index(columns[:], name)]
	if at < 0 {
		return "", false
	}
	return plain(r.cells[at]), true
}

// Email is the address of the user.
func (r *Row) Email() string {
	email, _ := r.cell("email")
	return strings.TrimSpace(email)
}

// Active is whether the user is to be active; nil: the list does not say.
func (r *Row) Active() (*bool, error) {
	text, _ := r.cell("active")
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "":
		return nil, nil //nolint:nilnil // there is no value, and nothing is wrong
	case "true":
		return new(true), nil
	case "false":
		return new(false), nil
	default:
		return nil, &presence.FieldError{Field: "active", Reason: "must be true or false"}
	}
}

// Edit sets the fields of a user that the list has, except the e-mail address and the
// state. An empty cell empties the field; an empty role leaves it as it is. A new user of
// a list without display names is shown by first and last name.
func (r *Row) Edit(u *directory.User) error {
	for _, field := range []struct {
		name string
		to   *string
	}{
		{"first_name", &u.FirstName},
		{"last_name", &u.LastName},
		{"display_name", &u.DisplayName},
		{"department", &u.Department},
		{"external_id", &u.ExternalID},
	} {
		if text, ok := r.cell(field.name); ok {
			*field.to = text
		}
	}
	if _, ok := r.cell("display_name"); !ok && u.ID == "" {
		u.DisplayName = u.FullName()
	}
	if text, ok := r.cell("groups"); ok {
		u.Groups = splitGroups(text)
	}
	text, _ := r.cell("role")
	if text = strings.ToLower(strings.TrimSpace(text)); text == "" {
		return nil
	}
	var err error
	u.Role, err = directory.ParseRole(text)
	return err
}

// splitGroups splits names of groups at semicolons; a backslash before a semicolon or a
// backslash makes it part of the name.
func splitGroups(text string) []string {
	var groups []string
	var name strings.Builder
	end := func() {
		if trimmed := strings.TrimSpace(name.String()); trimmed != "" {
			groups = append(groups, trimmed)
		}
		name.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == ';' || text[i+1] == '\\'):
			i++
			name.WriteByte(text[i])
		case text[i] == ';':
			end()
		default:
			name.WriteByte(text[i])
		}
	}
	end()
	return groups
}

func joinGroups(groups []string) string {
	escaped := make([]string, len(groups))
	for i, name := range groups {
		escaped[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(name)
	}
	return strings.Join(escaped, ";")
}

// A Writer writes a list.
type Writer struct{ csv *csv.Writer }

// NewWriter writes the header of a list.
func NewWriter(to io.Writer) *Writer {
	w := &Writer{csv.NewWriter(to)}
	_ = w.csv.Write(columns[:]) // Flush reports it
	return w
}

// Write writes a user.
func (w *Writer) Write(u *directory.User) {
	cells := []string{
		u.Email, u.FirstName, u.LastName, u.DisplayName, u.Department, joinGroups(u.Groups), u.Role.String(), strconv.FormatBool(u.Active), u.ExternalID,
	}
	for i := range cells {
		if formula(cells[i]) {
			cells[i] = "'" + cells[i]
		}
	}
	_ = w.csv.Write(cells) // likewise
}

// Flush writes what is buffered, and returns the first error.
func (w *Writer) Flush() error {
	w.csv.Flush()
	return w.csv.Error()
}

// formula reports whether a spreadsheet program may take a cell for a formula. Such a cell
// is written with an apostrophe before it, and so is a text that begins with an
// apostrophe before a formula: the apostrophe that is read back is always the one that was
// added.
func formula(text string) bool {
	text = strings.TrimLeft(text, "'")
	first, _ := utf8.DecodeRuneInString(text)
	return text != "" && strings.ContainsRune("=+-@＝＋－＠\t\r\n ", first)
}

// plain is the text of a cell without the apostrophe that formula asks for.
func plain(cell string) string {
	if rest, ok := strings.CutPrefix(cell, "'"); ok && formula(rest) {
		return rest
	}
	return cell
}
