package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Field is one setting: its tags and its value.
type Field struct {
	Name    string // of the flag and of the key in the file
	Group   string
	Help    string
	Default string
	Enum    []string // nil means any value of the type
	Secret  bool
	List    bool // strings separated by commas; in the file also a sequence
	value   reflect.Value
}

// fields returns the settings of a struct, given a pointer to it, in order.
func fields(settings any) []Field {
	v := reflect.ValueOf(settings).Elem()
	all := make([]Field, 0, v.NumField())
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		f := Field{
			Name: tag.Get("name"), Group: tag.Get("group"), Help: tag.Get("help"),
			Default: tag.Get("default"), Secret: tag.Get("secret") != "",
			List: tag.Get("list") != "", value: v.Field(i),
		}
		if enum := tag.Get("enum"); enum != "" {
			f.Enum = strings.Split(enum, ",")
		}
		all = append(all, f)
	}
	return all
}

// Env is the environment variable of the field.
func (f *Field) Env() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// set parses text into the field.
func (f *Field) set(text string) error {
	if f.Enum != nil && !slices.Contains(f.Enum, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.Enum, ", "))
	}
	switch into := f.value.Addr().Interface().(type) {
	case *string:
		*into = text
	case *time.Duration:
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		*into = d
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		*into = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a whole number of 0 or more", text)
		}
		*into = n
	case encoding.TextUnmarshaler:
		return into.UnmarshalText([]byte(text))
	default:
		panic("config: field " + f.Name + " has an unsupported type")
	}
	return nil
}

// text formats the value so that set can parse it.
func (f *Field) text() string {
	if d, ok := f.value.Interface().(time.Duration); ok {
		return FormatDuration(d)
	}
	return fmt.Sprint(f.value.Interface())
}

// fillEmpty sets empty strings to their default, except where empty has a meaning.
// The help of a duration, size or number says what its zero means.
func fillEmpty(c *Config) {
	for _, f := range fields(c) {
		if f.value.Kind() == reflect.String && f.value.IsZero() && f.value.Addr().Interface() != any(&c.AdminListen) {
			f.reset()
		}
	}
}

func (f *Field) reset() {
	if f.Default == "" {
		f.value.SetZero()
		return
	}
	if err := f.set(f.Default); err != nil {
		panic("config: the default of " + f.Name + ": " + err.Error())
	}
}
