package framer

import "bytes"

// chunks finds the end of a chunked body.
type chunks struct {
	next     element
	left     uint64 // data of the current chunk
	trailers int    // bytes of trailers
}

// An element is what comes next in a chunked body.
type element uint8

const (
	sizeLine element = iota
	chunkData
	dataEnd
	trailerLine
	bodyEnd
)

// The limits of what is not data. net/http has the same for trailers.
const (
	maxSizeLine   = 256
	maxSizeDigits = 15
	maxTrailers   = 4 << 10
)

func (c *chunks) ended() bool { return c.next == bodyEnd }

// advance returns how much of b belongs to the body, in whole lines: a line whose end is
// not in b must be passed again.
func (c *chunks) advance(b []byte) (n int, err error) {
	for n < len(b) && c.next != bodyEnd {
		took, err := c.take(b[n:])
		if took == 0 || err != nil {
			return n, err
		}
		n += took
	}
	return n, nil
}

// take takes one element.
func (c *chunks) take(b []byte) (n int, err error) {
	switch c.next {
	case chunkData:
		n = int(min(c.left, uint64(len(b))))
		if c.left -= uint64(n); c.left == 0 {
			c.next = dataEnd
		}
		return n, nil
	case dataEnd:
		c.next = sizeLine
		switch {
		case b[0] != '\r' || len(b) > 1 && b[1] != '\n':
			return 0, malformed("chunk is longer than its size")
		case len(b) == 1:
			c.next = dataEnd
			return 0, nil
		}
		return len("\r\n"), nil
	case trailerLine:
		return c.takeTrailer(b)
	default:
		return c.takeSize(b)
	}
}

// line returns the first line of b without its end, or nil if it is not whole.
func line(b []byte, most int) ([]byte, error) {
	i := bytes.IndexByte(b[:min(len(b), most)], '\n')
	switch {
	case i < 0 && len(b) >= most:
		return nil, malformed("line in chunked body is too long")
	case i < 0:
		return nil, nil
	case i == 0 || b[i-1] != '\r':
		return nil, malformed("line in chunked body ends with bare LF")
	}
	return b[:i-1], nil
}

func (c *chunks) takeSize(b []byte) (int, error) {
	text, err := line(b, maxSizeLine)
	if text == nil || err != nil {
		return 0, err
	}
	digits, extension, _ := bytes.Cut(text, []byte(";"))
	if len(digits) == 0 || len(digits) > maxSizeDigits || !consistsOf(extension, isText) {
		return 0, malformed("malformed chunk size")
	}
	c.left = 0
	for _, d := range digits {
		value, ok := hex(d)
		if !ok {
			return 0, malformed("malformed chunk size")
		}
		c.left = c.left<<4 | value
	}
	if c.next = chunkData; c.left == 0 {
		c.next = trailerLine
	}
	return len(text) + len("\r\n"), nil
}

func hex(c byte) (value uint64, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10, true
	}
	return 0, false
}

// takeTrailer takes a trailer field, or the empty line at the end. Fields that say where a
// message ends are refused as trailers.
func (c *chunks) takeTrailer(b []byte) (int, error) {
	text, err := line(b, maxTrailers-c.trailers)
	if text == nil || err != nil {
		return 0, err
	}
	n := len(text) + len("\r\n")
	if c.trailers += n; len(text) == 0 {
		c.next = bodyEnd
		return n, nil
	}
	h, r := head{}, Request{}
	if err := h.parseField(text, &r); err != nil {
		return 0, err
	}
	if h.hosts+h.lengths+h.codings > 0 || is(r.Fields[0].Name, "Trailer") {
		return 0, malformed("trailer may not be " + string(r.Fields[0].Name))
	}
	return n, nil
}
