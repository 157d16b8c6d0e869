package wire

import "net/http"

// ReadJSON reads a body of application/json into a struct, strictly: unknown
// fields, duplicate keys, trailing data, wrong types, invalid UTF-8 and nesting
// past 16 are refused, with a *SyntaxError, or a *presence.FieldError that names
// the field.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error { panic("unbuilt") }

// CheckJSON refuses what is not exactly one JSON value of valid UTF-8 without
// duplicate keys, nested at most 16 deep.
func CheckJSON(data []byte) error { panic("unbuilt") }
