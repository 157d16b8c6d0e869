package fastpath

import (
	"net/http"
	"sync/atomic"
	"time"
)

// maxFields bounds the header fields of a response.
const maxFields = 24

// fields are header fields in the order of their names, as net/http writes them.
type fields struct {
	n    int
	all  [maxFields]field
	text []byte // has the values
}

type field struct {
	name     string
	from, to int // in text
}

// setField sets a field. It replaces an earlier value.
func setField[T ~string | ~[]byte](f *fields, name string, value T) {
	name = http.CanonicalHeaderKey(name)
	at := f.n
	for at > 0 && f.all[at-1].name >= name {
		at--
	}
	if at == f.n || f.all[at].name != name {
		copy(f.all[at+1:f.n+1], f.all[at:f.n])
		f.n++
	}
	from := len(f.text)
	f.text = append(f.text, value...)
	f.all[at] = field{name, from, len(f.text)}
}

func (f *fields) appendTo(b []byte) []byte {
	for _, field := range f.all[:f.n] {
		b = append(append(b, field.name...), ": "...)
		b = append(append(b, f.text[field.from:field.to]...), "\r\n"...)
	}
	return b
}

// A date is the Date of responses, which changes each second.
type date struct{ at atomic.Pointer[dateText] }

type dateText struct {
	second int64
	text   [len(http.TimeFormat)]byte
}

// appendTo appends the current date. As in net/http, it is that of the machine.
func (d *date) appendTo(b []byte) []byte {
	now := time.Now()
	current := d.at.Load()
	if current == nil || current.second != now.Unix() {
		current = &dateText{second: now.Unix()}
		now.UTC().AppendFormat(current.text[:0], http.TimeFormat)
		d.at.Store(current)
	}
	return append(b, current.text[:]...)
}
