package wire

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

var timeType = reflect.TypeFor[time.Time]()

// fill decodes a body that CheckJSON accepted. Structs are walked here, so that
// names compare exactly and every error knows its field; what is no struct is
// left to encoding/json.
func fill(body []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	if v.Kind() != reflect.Struct {
		return fillLeaf(body, v, "")
	}
	return fillStruct(body, v, "")
}

func fillStruct(data []byte, v reflect.Value, path string) error {
	var err error
	object := Members(data, func(key, value []byte) {
		if err != nil {
			return
		}
		name := path + cut(string(key))
		field, ok := fieldNamed(v, string(key))
		if !ok {
			err = &presence.FieldError{Field: name, Reason: "is not known here"}
			return
		}
		err = fillValue(value, field, name)
	})
	switch {
	case object != nil && path == "":
		return object
	case object != nil:
		return wrongType(v, strings.TrimSuffix(path, "."))
	}
	return err
}

// fieldNamed finds the field of a struct by its JSON name, in embedded structs
// too.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name && tag != "" && tag != "-" && f.IsExported() {
			field, err := v.FieldByIndexErr(f.Index)
			return field, err == nil
		}
	}
	return reflect.Value{}, false
}

func fillValue(data []byte, v reflect.Value, path string) error {
	null := string(data) == "null"
	if reads[json.Unmarshaler](v) {
		return fillLeaf(data, v, path)
	}
	switch kind := v.Kind(); {
	case null && (kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map || kind == reflect.Interface):
		v.SetZero()
		return nil
	case null:
		return wrongType(v, path)
	case kind == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fillValue(data, v.Elem(), path)
	case reads[encoding.TextUnmarshaler](v):
		return fillLeaf(data, v, path)
	case kind == reflect.Struct:
		return fillStruct(data, v, path+".")
	case kind == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		return fillSlice(data, v, path)
	case kind == reflect.Map && v.Type().Key().Kind() == reflect.String:
		return fillMap(data, v, path)
	default:
		return fillLeaf(data, v, path)
	}
}

func reads[T any](v reflect.Value) bool {
	if !v.CanAddr() || v.Kind() == reflect.Pointer {
		return false
	}
	_, ok := v.Addr().Interface().(T)
	return ok
}

func fillSlice(data []byte, v reflect.Value, path string) error {
	var items []json.RawMessage
	if data[0] != '[' || json.Unmarshal(data, &items) != nil {
		return wrongType(v, path)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := fillValue(item, v.Index(i), path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	return nil
}

func fillMap(data []byte, v reflect.Value, path string) error {
	made := reflect.MakeMap(v.Type())
	var err error
	object := Members(data, func(key, value []byte) {
		if err != nil {
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		err = fillValue(value, item, path+"."+cut(string(key)))
		made.SetMapIndex(reflect.ValueOf(string(key)).Convert(v.Type().Key()), item)
	})
	if object != nil {
		return wrongType(v, path)
	}
	v.Set(made)
	return err
}

// fillLeaf lets encoding/json read a value that holds no struct of ours.
func fillLeaf(data []byte, v reflect.Value, path string) error {
	err := json.Unmarshal(data, v.Addr().Interface())
	if err == nil {
		return nil
	}
	var field *presence.FieldError
	switch {
	case path == "":
		return errNoObject
	case errors.As(err, &field):
		return &presence.FieldError{Field: path, Reason: field.Reason}
	case v.Type() == timeType:
		return &presence.FieldError{Field: path, Reason: `must be a time as in "2026-01-02T15:04:05Z"`}
	case reads[encoding.TextUnmarshaler](v) && data[0] == '"':
		return &presence.FieldError{Field: path, Reason: "cannot be read: " + cut(err.Error())}
	default:
		return wrongType(v, path)
	}
}

// wrongType says what v takes.
func wrongType(v reflect.Value, path string) error {
	reason := "has the wrong type"
	kind := v.Kind()
	if kind == reflect.Pointer {
		kind = v.Type().Elem().Kind()
	}
	switch {
	case reads[encoding.TextUnmarshaler](v) || kind == reflect.String:
		reason = "must be a string"
	case reflect.Int <= kind && kind <= reflect.Int64:
		reason = "must be a whole number"
	case reflect.Uint <= kind && kind <= reflect.Uint64:
		reason = "must be a whole number of at least 0"
	case kind == reflect.Float32 || kind == reflect.Float64:
		reason = "must be a number"
	case kind == reflect.Bool:
		reason = "must be true or false"
	case kind == reflect.Slice || kind == reflect.Array:
		reason = "must be an array"
	case kind == reflect.Struct || kind == reflect.Map:
		reason = "must be an object"
	}
	return &presence.FieldError{Field: path, Reason: reason}
}
