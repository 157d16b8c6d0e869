package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Size is a number of bytes, written like 64MiB.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
}

// UnmarshalText parses a number of bytes, with or without a unit.
func (s *Size) UnmarshalText(text []byte) error {
	number, scale := strings.TrimSpace(string(text)), int64(1)
	for _, unit := range units {
		if rest, ok := strings.CutSuffix(number, unit.name); ok {
			number, scale = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/scale {
		return fmt.Errorf("%q is not a size: use a number with B, KiB, MiB, GiB or TiB, such as 64MiB", text)
	}
	*s = Size(n * scale)
	return nil
}

// String formats the size in the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range units {
		if int64(s) != 0 && int64(s)%unit.bytes == 0 && unit.bytes > 1 {
			return strconv.FormatInt(int64(s)/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

const (
	day     = 24 * time.Hour
	maxDays = uint64(math.MaxInt64 / day) // in a time.Duration
)

// wellFormed matches what time.ParseDuration rejects only because it overflows: the
// error of that function does not distinguish overflow from a mistake.
var wellFormed = regexp.MustCompile(`^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`)

// ParseDuration parses a duration such as 90s, 15m, 36h or 30d.
func ParseDuration(text string) (time.Duration, error) {
	var total time.Duration
	rest := strings.TrimSpace(text)
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange), err == nil && n > maxDays:
			return 0, tooLong(text)
		case err != nil:
			return 0, notDuration(text)
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(rest)
	switch {
	case err != nil && wellFormed.MatchString(rest), err == nil && total+d < 0 && d > 0:
		return 0, tooLong(text)
	case err != nil || d < 0:
		return 0, notDuration(text)
	}
	return total + d, nil
}

func tooLong(text string) error {
	return fmt.Errorf("%q is too long a duration: use at most %dd", text, maxDays)
}

func notDuration(text string) error {
	return fmt.Errorf("%q is not a duration: use a number with ms, s, m, h or d, such as 90s or 30d", text)
}

// FormatDuration formats a duration in the shortest form that ParseDuration accepts.
func FormatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
