package wire

import (
	"bufio"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/auth"
)

// AccessLog writes one JSON line for each request, gathered in memory and
// written when 32 KiB have accumulated or a second has passed, so that a line
// costs no system call. Each write is of whole lines, so that the writer may go on
// in another file between two. A nil AccessLog writes nothing.
type AccessLog struct {
	// Sample writes one of so many requests that succeed and take less than Slow. 0 and 1
	// write all. Set both before serving.
	Sample int
	Slow   time.Duration

	passed atomic.Uint64 // requests that were subject to the sampling

	mu     sync.Mutex
	out    *bufio.Writer
	line   []byte // scratch, under mu
	second int64  // that stamp is of, under mu
	stamp  []byte // as in 2026-11-22T12:00:00
	ticker *time.Ticker
	done   chan struct{}
	ended  chan struct{}
}

// NewAccessLog writes to w until Close, without what looks like a secret.
func NewAccessLog(w io.Writer) *AccessLog {
	l := &AccessLog{
		out:    bufio.NewWriterSize(auth.NewRedactor(w), 32<<10),
		ticker: time.NewTicker(time.Second),
		done:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
	go l.flushEverySecond()
	return l
}

func (l *AccessLog) flushEverySecond() {
	defer close(l.ended)
	for {
		select {
		case <-l.ticker.C:
			l.flush()
		case <-l.done:
			return
		}
	}
}

func (l *AccessLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Flush() // nowhere to report it to
}

// Close writes what is left.
func (l *AccessLog) Close() {
	if l == nil {
		return
	}
	l.ticker.Stop()
	close(l.done)
	<-l.ended
	l.flush()
}

// sampled reports whether a request is written because it is one of Sample, and whether it
// is left out because it is another one of them.
func (l *AccessLog) sampled(f *Facts, elapsed time.Duration, status int) (one, other bool) {
	if l.Sample <= 1 || status >= 400 || f.err != nil || elapsed >= l.Slow {
		return false, false
	}
	one = l.passed.Add(1)%uint64(l.Sample) == 1
	return one, !one
}

func (l *AccessLog) write(f *Facts, m *Meter, elapsed time.Duration, status int) {
	if l == nil {
		return
	}
	one, other := l.sampled(f, elapsed, status)
	if other {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := append(l.line[:0], `{"time":"`...)
	if now := f.start.Unix(); now != l.second || len(l.stamp) == 0 {
		l.second, l.stamp = now, f.start.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
	}
	b = append(b, l.stamp...)
	ms := f.start.Nanosecond() / 1e6
	b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	b = append(b, `","level":"INFO","msg":"request","request_id":"`...)
	b = append(append(b, f.requestID...), '"')
	b = appendField(b, "method", f.method)
	b = appendField(b, "path", f.path)
	b = appendField(b, "route", m.route)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, f.bytes, 10)
	b = append(b, `,"elapsed_us":`...)
	b = strconv.AppendInt(b, elapsed.Microseconds(), 10)
	b = append(b, `,"client":"`...)
	b = append(f.client.Addr.AppendTo(b), '"')
	b = appendField(b, "remote", f.remote)
	if p := f.principal; p != nil {
		b = appendField(b, "account", string(p.Account))
		b = appendField(b, "app", string(p.App))
		b = appendField(b, "token", p.TokenID)
	}
	if f.code != "" {
		b = appendField(b, "code", f.code)
	}
	if f.err != nil {
		b = appendField(b, "err", f.err.Error())
	}
	if one {
		b = strconv.AppendInt(append(b, `,"sample":`...), int64(l.Sample), 10)
	}
	b = append(b, "}\n"...)
	l.line = b
	if len(b) > l.out.Available() {
		_ = l.out.Flush() // as above
	}
	_, _ = l.out.Write(b)
}

func appendField[T ~string | ~[]byte](b []byte, name string, value T) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = AppendJSON(b, value)
	return append(b, '"')
}

// AppendStrings appends a JSON array of strings.
func AppendStrings[T ~string](b []byte, texts []T) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendJSON(append(b, '"'), string(text)), '"')
	}
	return append(b, ']')
}

// AppendJSON appends text as the inside of a JSON string: what could end the
// string or the line is escaped, and what is not UTF-8 replaced.
func AppendJSON[T ~string | ~[]byte](b []byte, text T) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x7f {
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		i += size
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || 0x7f <= r && r <= 0x9f || 0x202a <= r && r <= 0x202e || r == '\u2028' || r == '\u2029':
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
