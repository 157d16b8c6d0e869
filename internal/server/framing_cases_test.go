package server_test

import (
	"slices"
	"strings"
)

// Outcomes that several cases share.
const (
	refused = "400 close"
	// RFC 9112 6.1: a transfer coding that the server does not know.
	unsupported = "400 close|501 close"
	// The server may serve or refuse the request, but not misread it.
	optional     = "ok|" + refused
	failed       = "4xx close"
	badVersion   = "400 close|505 close"
	noSuchTarget = "4xx|4xx close|501|501 close"
)

// framingCases is a table after RFC 9110 and RFC 9112. Where these permit a server to
// tolerate something, the server refuses what a proxy in front of it could read otherwise.
func framingCases() []framingCase {
	return slices.Concat(requestLineCases(), targetCases(), fieldCases(), hostCases(), lengthCases(), codingCases(),
		chunkCases(), trailerCases(), sequenceCases(), expectCases(), connectionCases())
}

const lengthAndBody = "Content-Length: {n}\r\n\r\n{body}"

// withLine has a request line instead of the valid one, and a second request behind.
func withLine(line string) string {
	return line + "\r\nHost: porchlight.example\r\n{auth}" + lengthAndBody
}

func requestLineCases() []framingCase {
	cases := []framingCase{
		{name: "valid request", raw: "{put}" + lengthAndBody, want: "ok"},
		{name: "one leading CRLF", raw: "\r\n{put}" + lengthAndBody, want: optional},
		{name: "three leading CRLFs", raw: "\r\n\r\n\r\n{put}" + lengthAndBody, want: optional},
		{name: "leading LF", raw: "\n{put}" + lengthAndBody, want: refused},
		{name: "leading CR", raw: "\r{put}" + lengthAndBody, want: refused},
		{name: "leading space", raw: " {put}" + lengthAndBody, want: refused},
		{name: "leading NUL", raw: "\x00{put}" + lengthAndBody, want: refused},
		{name: "only LFs", raw: strings.ReplaceAll(withLine("PUT {target} HTTP/1.1"), "\r", ""), want: refused},
		{name: "HTTP/0.9", raw: "GET {target}\r\n\r\n{next}", want: refused},
		{name: "HTTP/1.0", raw: withLine("PUT {target} HTTP/1.0") + "{next}", want: "ok close"},
		{name: "HTTP/1.0 without Host", raw: "PUT {target} HTTP/1.0\r\n{auth}" + lengthAndBody + "{next}", want: "ok close"},
		{name: "HTTP/1.0 with keep-alive", raw: withLine("PUT {target} HTTP/1.0\r\nConnection: keep-alive"), want: "ok|ok close"},
		{name: "HTTP/1.2", raw: withLine("PUT {target} HTTP/1.2"), want: "ok|" + badVersion},
		{name: "preface of HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{next}", want: "4xx close|505 close"},
		{name: "lower-case method", raw: withLine("put {target} HTTP/1.1"), want: noSuchTarget},
		{name: "method with a bracket", raw: withLine("P(T {target} HTTP/1.1") + "{next}", want: refused},
		{name: "method with a colon", raw: withLine("PUT: {target} HTTP/1.1") + "{next}", want: refused},
		{name: "method of 200 bytes", raw: withLine(strings.Repeat("M", 200) + " {target} HTTP/1.1"), want: noSuchTarget},
		{name: "method of 40 KiB", raw: withLine(strings.Repeat("M", 40<<10)+" {target} HTTP/1.1") + "{next}", want: "4xx close|501 close"},
	}
	for _, line := range []string{
		"PUT HTTP/1.1", "PUT  HTTP/1.1", "PUT  {target} HTTP/1.1", "PUT {target}  HTTP/1.1", "PUT {target} HTTP/1.1 ", "PUT\t{target}\tHTTP/1.1",
		"PUT {target} HTTP/1.1\t", "PUT {target}\r HTTP/1.1", "PUT {target} HTTP/1.1\r", "PUT {target}\n HTTP/1.1", "PUT\x0b{target} HTTP/1.1",
		"PUT {target} http/1.1", "PUT {target} HTTP/1.10", "PUT {target} HTTP/01.1", "PUT {target} HTTP/1.", "PUT {target} HTTP/11",
		"PUT {target} HTTP/+1.1", "PUT {target} HTTPS/1.1", "PUT {target} HTTP/1.1x", "PUT {target} HTTP 1.1", "PUT {target} HTTP/1,1",
		"PUT {target} HTTP/2.0", "PUT {target} HTTP/0.9", "PUT {target} HTTP/3.0",
	} {
		want := refused
		if strings.HasSuffix(line, ".0") || strings.HasSuffix(line, "0.9") {
			want = badVersion
		}
		cases = append(cases, framingCase{name: "request line " + line, raw: withLine(line) + "{next}", want: want})
	}
	return cases
}

func targetCases() []framingCase {
	line := func(target string) string { return withLine("PUT " + target + " HTTP/1.1") }
	return []framingCase{
		{name: "absolute form", raw: line("http://porchlight.example{target}"), want: "ok"},
		{name: "absolute form of another host", raw: line("http://other.example{target}"), want: "ok"},
		{name: "absolute form without host", raw: line("http://{target}"), want: optional + "|" + noSuchTarget},
		{name: "asterisk form", raw: withLine("OPTIONS * HTTP/1.1"), want: "200|204|" + noSuchTarget},
		{name: "asterisk with PUT", raw: line("*"), want: noSuchTarget},
		{name: "authority form", raw: line("porchlight.example:80"), want: noSuchTarget},
		{name: "CONNECT", raw: withLine("CONNECT porchlight.example:80 HTTP/1.1"), want: noSuchTarget},
		{name: "without leading slash", raw: line("v2/users"), want: noSuchTarget},
		{name: "space in target", raw: line("{target} x") + "{next}", want: refused},
		{name: "tab in target", raw: line("{target}\tx") + "{next}", want: refused},
		{name: "control character in target", raw: line("{target}\x01") + "{next}", want: refused},
		{name: "NUL in target", raw: line("{target}\x00") + "{next}", want: refused},
		{name: "DEL in target", raw: line("{target}\x7f") + "{next}", want: refused},
		{name: "non-ASCII query", raw: line("{target}?x=\xc3\xa9"), want: "ok|4xx|4xx close"},
		{name: "empty query", raw: line("{target}?"), want: "ok"},
		{name: "fragment", raw: line("{target}#x"), want: noSuchTarget},
		{name: "invalid escape", raw: line("{target}%zz"), want: noSuchTarget},
		{name: "two slashes", raw: line("/{target}"), want: noSuchTarget},
		{name: "target of 40 KiB", raw: line("{target}?"+strings.Repeat("x", 40<<10)) + "{next}", want: failed},
	}
}

func fieldCases() []framingCase {
	cases := []framingCase{
		{name: "LF after a field", raw: "{put}X-A: b\nContent-Length: {n}\r\n\r\n{body}{next}", want: refused},
		{name: "LF after the request line", raw: "PUT {target} HTTP/1.1\nHost: porchlight.example\r\n{auth}" + lengthAndBody + "{next}", want: refused},
		{name: "LF at the end of the head", raw: "{put}Content-Length: {n}\r\n\n{body}{next}", want: refused},
		{name: "two LFs at the end of the head", raw: "{put}Content-Length: {n}\n\n{body}{next}", want: refused},
		{name: "LF and CRLF at the end of the head", raw: "{put}Content-Length: {n}\n\r\n{body}{next}", want: refused},
		{name: "CR at the end of a field", raw: "{put}X-A: b\rContent-Length: {n}\r\n\r\n{body}{next}", want: refused},
		{name: "two CRs at the end of a field", raw: "{put}X-A: b\r\r\nContent-Length: {n}\r\n\r\n{body}{next}", want: refused},
		{name: "CR before the end of the head", raw: "{put}Content-Length: {n}\r\n\r\r\n{body}{next}", want: refused},
		{name: "folded with space", raw: "{put}X-A: b\r\n c\r\n" + lengthAndBody + "{next}", want: refused},
		{name: "folded with tab", raw: "{put}X-A: b\r\n\tc\r\n" + lengthAndBody + "{next}", want: refused},
		{name: "folded with Content-Length", raw: "{put}X-A: b\r\n Content-Length: 0\r\n" + lengthAndBody + "{next}", want: refused},
		{name: "folded Content-Length", raw: "{put}Content-Length:\r\n {n}\r\n\r\n{body}{next}", want: refused},
		{name: "folded Transfer-Encoding", raw: "{put}Transfer-Encoding:\r\n chunked\r\n\r\n{chunked}{next}", want: refused},
		{name: "space before the first field", raw: "PUT {target} HTTP/1.1\r\n Host: porchlight.example\r\n{auth}" + lengthAndBody + "{next}", want: refused},
		{name: "tab before the first field", raw: "PUT {target} HTTP/1.1\r\n\tX: y\r\nHost: porchlight.example\r\n{auth}" + lengthAndBody + "{next}", want: refused},
		{name: "space at the end of the head", raw: "{put}Content-Length: {n}\r\n \r\n\r\n{body}{next}", want: refused},
		{name: "non-ASCII value", raw: "{put}X-A: caf\xe9 \xc3\xa9\r\n" + lengthAndBody, want: "ok"},
		{name: "tab in a value", raw: "{put}X-A: a\tb\r\n" + lengthAndBody, want: "ok"},
		{name: "empty value", raw: "{put}X-A:\r\n" + lengthAndBody, want: "ok"},
		{name: "spaces and tabs around a value", raw: "{put}X-A:\t b \t\r\n" + lengthAndBody, want: "ok"},
		{name: "field of 10 KiB", raw: "{put}X-A: " + strings.Repeat("x", 10<<10) + "\r\n" + lengthAndBody, want: "ok"},
		{name: "field of 64 KiB", raw: "{put}X-A: " + strings.Repeat("x", 64<<10) + "\r\n" + lengthAndBody + "{next}", want: "431 close"},
		{name: "8000 fields", raw: "{put}" + strings.Repeat("X-A: b\r\n", 8000) + lengthAndBody + "{next}", want: "431 close"},
		{name: "name of 64 KiB", raw: "{put}" + strings.Repeat("x", 64<<10) + ": y\r\n" + lengthAndBody + "{next}", want: "431 close"},
		{name: "end in the request line", raw: "PUT {target}", want: "close|4xx close", fin: true},
		{name: "end in the head", raw: "{put}Content-Length: {n}\r\n", want: "close|4xx close", fin: true},
	}
	for name, field := range map[string]string{
		"space before the colon": "X-A : b", "tab before the colon": "X-A\t: b", "empty name": ": b", "no colon": "X-A",
		"bracket in a name": "X(A): b", "space in a name": "X A: b", "NUL in a name": "X\x00A: b", "VT in a name": "X\x0bA: b",
		"DEL in a name": "X\x7fA: b", "non-ASCII name": "X\xc3\xa9: b", "quotes around a name": `"X": b`, "slash in a name": "X/A: b",
		"NUL in a value": "X-A: b\x00c", "VT in a value": "X-A: b\x0bc", "DEL in a value": "X-A: b\x7fc", "control character in a value": "X-A: b\x01c",
		"escape in a value": "X-A: \x1b[2J", "backspace in a value": "X-A: b\x08c", "form feed in a value": "X-A: b\x0c", "CR in a value": "X-A: b\rc",
		"CR at the start of a value": "X-A:\rb", "space before the colon of a length": "Content-Length : {n}", "VT before a name": "\x0bX-A: b",
	} {
		cases = append(cases, framingCase{name: name, raw: "{put}" + field + "\r\n" + lengthAndBody + "{next}", want: refused})
	}
	return cases
}

func hostCases() []framingCase {
	with := func(fields string) string {
		return "PUT {target} HTTP/1.1\r\n" + fields + "{auth}" + lengthAndBody + "{next}"
	}
	return []framingCase{
		{name: "no Host", raw: with(""), want: refused},
		{name: "two equal Hosts", raw: with("Host: porchlight.example\r\nHost: porchlight.example\r\n"), want: refused},
		{name: "two Hosts", raw: with("Host: porchlight.example\r\nHost: other.example\r\n"), want: refused},
		{name: "a Host and an empty one", raw: with("Host: porchlight.example\r\nhost:\r\n"), want: refused},
		{name: "empty Host", raw: with("Host:\r\n"), want: "ok next|" + refused},
		{name: "Host with space", raw: with("Host: a b\r\n"), want: refused},
		{name: "Host with slash", raw: with("Host: a/b\r\n"), want: refused},
		{name: "Host with at sign", raw: with("Host: a@b\r\n"), want: refused},
		{name: "Host with a control character", raw: with("Host: a\x02b\r\n"), want: refused},
		{name: "Host with port", raw: with("Host: porchlight.example:8080\r\n"), want: "ok next"},
		{name: "IPv6 Host", raw: with("Host: [::1]:8080\r\n"), want: "ok next"},
	}
}

func lengthCases() []framingCase {
	cases := []framingCase{
		{name: "two equal lengths", raw: "{put}Content-Length: {n}\r\nContent-Length: {n}\r\n\r\n{body}{next}", want: refused},
		{name: "two lengths", raw: "{put}Content-Length: {n}\r\nContent-Length: 0\r\n\r\n{body}{next}", want: refused},
		{name: "two lengths, the first zero", raw: "{put}Content-Length: 0\r\nContent-Length: {n}\r\n\r\n{body}{next}", want: refused},
		{name: "a length and an empty one", raw: "{put}Content-Length: {n}\r\nContent-Length:\r\n\r\n{body}{next}", want: refused},
		{name: "length with leading zeros", raw: "{put}Content-Length: 00{n}\r\n\r\n{body}", want: optional},
		{name: "spaces and tabs around a length", raw: "{put}Content-Length:\t {n}\t \r\n\r\n{body}", want: "ok"},
		{name: "lower-case content-length", raw: "{put}content-length: {n}\r\n\r\n{body}", want: "ok"},
		{name: "length of a petabyte", raw: "{put}Content-Length: 1000000000000000\r\n\r\n{body}{next}", want: failed},
		{name: "length of zero before a body", raw: "{put}Content-Length: 0\r\n\r\n{body}\r\n\r\n", want: "4xx 400 close"},
		{name: "no length", raw: "{put}\r\n{next}", want: "4xx next"},
		{name: "body shorter than the length", raw: "{put}Content-Length: 1{n}\r\n\r\n{body}", want: "close|4xx close", fin: true},
		{name: "body longer than the length", raw: "{put}" + lengthAndBody + "x\r\n\r\n{next}", want: "ok 400 close"},
	}
	for _, length := range []string{
		"", "+{n}", "-{n}", "-0", "0x{hex}", "{n}.0", "1e1", "1 0", "1_0", "{n};", "{n}, {n}", "{n},", ",{n}", "{n}, 0", "0, {n}", "\"{n}\"", "{n}a",
		"18446744073709551616", "9223372036854775808", "99999999999999999999999999", "\xef\xbc\x91", "{n}\x0b", "\x0c{n}", "{n}\x00", "{n}\x85",
	} {
		cases = append(cases, framingCase{name: "length " + length, raw: "{put}Content-Length: " + length + "\r\n\r\n{body}{next}", want: refused})
	}
	return cases
}

func codingCases() []framingCase {
	cases := []framingCase{
		{name: "chunked", raw: "{put}Transfer-Encoding: chunked\r\n\r\n{chunked}", want: "ok"},
		{name: "Chunked", raw: "{put}Transfer-Encoding: Chunked\r\n\r\n{chunked}", want: optional},
		{name: "tabs around chunked", raw: "{put}Transfer-Encoding:\tchunked\t\r\n\r\n{chunked}", want: "ok"},
		{name: "length, then chunked", raw: "{put}Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: refused},
		{name: "chunked, then length", raw: "{put}Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n{chunked}{next}", want: refused},
		{name: "length of zero and chunked", raw: "{put}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: refused},
		{name: "chunked and length of zero, request inside", raw: "{put}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{next}", want: refused},
		{name: "invalid length and chunked", raw: "{put}Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: refused},
		{name: "length and identity", raw: "{put}Content-Length: {n}\r\nTransfer-Encoding: identity\r\n\r\n{body}{next}", want: unsupported},
		{name: "length and empty coding", raw: "{put}Content-Length: {n}\r\nTransfer-Encoding:\r\n\r\n{body}{next}", want: unsupported},
		{name: "chunked in two fields", raw: "{put}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: unsupported},
		{name: "chunked and identity in two fields", raw: "{put}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{chunked}{next}", want: unsupported},
		{name: "identity and chunked in two fields", raw: "{put}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: unsupported},
		{name: "empty coding and chunked", raw: "{put}Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: unsupported},
		{name: "space before the colon of a coding", raw: "{put}Transfer-Encoding : chunked\r\n\r\n{chunked}{next}", want: refused},
		{name: "chunked in HTTP/1.0", raw: "PUT {target} HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: failed},
		{name: "chunked in HTTP/1.0 with keep-alive", raw: "PUT {target} HTTP/1.0\r\n{auth}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: failed},
		{name: "coding with an underscore", raw: "{put}Transfer_Encoding: chunked\r\n" + lengthAndBody, want: optional},
		{name: "TE", raw: "{put}TE: trailers, chunked\r\n" + lengthAndBody, want: "ok"},
		{name: "GET with chunked", raw: "{get}Transfer-Encoding: chunked\r\n\r\n{chunked}", want: "200|404|405"},
	}
	for _, coding := range []string{
		"chunked, chunked", "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, gzip", "xchunked", "chunkedx", "identity", "gzip",
		"chunked;q=1", `"chunked"`, "'chunked'", "", "chunk ed", "chun\nked", "chunked\x0b", "\x0bchunked", "chunked\x00", "chunked, ", ", chunked", "\xe2\x80\x8bchunked",
	} {
		want := unsupported
		if strings.HasPrefix(coding, ",") || strings.HasSuffix(coding, ", ") {
			want = "ok next|" + unsupported // an empty element of a list
		}
		cases = append(cases, framingCase{name: "coding " + coding, raw: "{put}Transfer-Encoding: " + coding + "\r\n\r\n{chunked}{next}", want: want})
	}
	return cases
}

// faultInBody returns a case whose chunked body has a fault, followed by a second request.
func faultInBody(name, body string) framingCase {
	return framingCase{name: name, raw: "{put}Transfer-Encoding: chunked\r\n\r\n" + body + "{next}", want: refused, inBody: true}
}

func chunkCases() []framingCase {
	size := func(text string) string { return text + "\r\n{body}\r\n0\r\n\r\n" }
	valid := func(name, body, want string) framingCase {
		return framingCase{name: name, raw: "{put}Transfer-Encoding: chunked\r\n\r\n" + body, want: want}
	}
	cases := []framingCase{
		valid("chunks of one byte", "1\r\n{\r\n1\r\n \r\n1\r\n}\r\n0\r\n\r\n", "4xx"),
		valid("upper-case size", "A\r\n{         \r\n1\r\n}\r\n0\r\n\r\n", "4xx"),
		valid("size with leading zeros", size("000{hex}"), optional+"|404 close"),
		valid("last chunk 000", "{chunk}000\r\n\r\n", optional+"|404 close"),
		valid("chunk extension", size("{hex};a=b"), "ok"),
		valid("quoted chunk extension", size(`{hex};a="b;c"`), "ok"),
		valid("extension of the last chunk", "{chunk}0;a=b\r\n\r\n", "ok"),
		valid("space before an extension", size("{hex} ;a=b"), optional+"|404 close"),
		faultInBody("CRLF in a quoted extension", size("{hex};a=\"\r\n\"")),
		faultInBody("extension of 64 KiB", size("{hex};a="+strings.Repeat("x", 64<<10))),
		faultInBody("LF in an extension", size("{hex};a\nb")),
		faultInBody("CR in an extension", size("{hex};a\rb")),
		faultInBody("NUL in an extension", size("{hex};a\x00b")),
		faultInBody("LF after a size", "{hex}\n{body}\r\n0\r\n\r\n"),
		faultInBody("CR after a size", "{hex}\r{body}\r\n0\r\n\r\n"),
		faultInBody("LF after the data", "{hex}\r\n{body}\n0\r\n\r\n"),
		faultInBody("nothing after the data", "{hex}\r\n{body}0\r\n\r\n"),
		faultInBody("two bytes after the data", "{hex}\r\n{body}xx0\r\n\r\n"),
		faultInBody("more data than the size", "{hex}\r\n{body}x\r\n0\r\n\r\n"),
		faultInBody("less data than the size", "5\r\n{}  \r\n0\r\n\r\n"),
		faultInBody("LF after the last size", "{chunk}0\n\r\n"),
		faultInBody("LF at the end of the body", "{chunk}0\r\n\n"),
		faultInBody("LFs at the end of the body", "{chunk}0\n\n"),
		{name: "end in a chunk", raw: "{put}Transfer-Encoding: chunked\r\n\r\n1{hex}\r\n{body}", want: "close|4xx close", fin: true},
		{name: "end after a chunk", raw: "{put}Transfer-Encoding: chunked\r\n\r\n{chunk}", want: "close|4xx close", fin: true},
		{name: "end after the last chunk", raw: "{put}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n", want: "close|4xx close", fin: true},
	}
	cases[9].want = failed
	for _, text := range []string{
		"", "+{hex}", "-{hex}", "-1", "0x{hex}", " {hex}", "\t{hex}", "g", "{hex}g", "{hex},", "{hex}.0", "{hex}_0", "ffffffffffffffff", "ffffffffffffffffff", "8000000000000000",
		"10000000000000010", "{hex} 0", "{hex}\x0b", "\xef\xbc\x91",
	} {
		cases = append(cases, faultInBody("chunk size "+text, size(text)))
	}
	return cases
}

func trailerCases() []framingCase {
	with := func(trailer string) string {
		return "{put}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n" + trailer + "\r\n\r\n"
	}
	cases := []framingCase{
		{name: "trailer", raw: with("X-A: b"), want: "ok"},
		{name: "two trailers", raw: with("X-A: b\r\nX-B: c"), want: "ok"},
		{name: "declared trailer", raw: strings.Replace(with("X-A: b"), "\r\n\r\n", "\r\nTrailer: X-A\r\n\r\n", 1), want: "ok"},
		{name: "length in the trailers", raw: with("Content-Length: {nextn}") + "{next}", want: "ok next|" + refused, inBody: true},
		{name: "coding in the trailers", raw: with("Transfer-Encoding: chunked") + "{next}", want: "ok next|" + refused, inBody: true},
		{name: "Authorization in the trailers", raw: with("Authorization: Bearer x") + "{next}", want: "ok next|" + refused, inBody: true},
	}
	for name, trailer := range map[string]string{
		"LF after a trailer": "X-A: b\nX-B: c", "folded trailer": "X-A: b\r\n c", "NUL in a trailer": "X-A: b\x00", "no colon in a trailer": "X-A",
		"space before the colon of a trailer": "X-A : b", "CR in a trailer": "X-A: b\rc", "empty name of a trailer": ": b", "space before a trailer": " X-A: b",
	} {
		cases = append(cases, faultInBody(name, "{chunk}0\r\n"+trailer+"\r\n\r\n"))
	}
	large := faultInBody("trailers of 64 KiB", "{chunk}0\r\n"+strings.Repeat("X-A: b\r\n", 8<<10)+"\r\n")
	large.want = failed
	return append(cases, large)
}

// sequenceCases have several requests, or bytes that look like one.
func sequenceCases() []framingCase {
	return []framingCase{
		{name: "two requests", raw: "{put}" + lengthAndBody + "{next}", want: "ok next"},
		{name: "chunked and another request", raw: "{put}Transfer-Encoding: chunked\r\n\r\n{chunked}{next}", want: "ok next"},
		{name: "CRLF between requests", raw: "{put}" + lengthAndBody + "\r\n{next}", want: "ok next|ok 400 close"},
		{name: "LF between requests", raw: "{put}" + lengthAndBody + "\n{next}", want: "ok 400 close"},
		{name: "NUL between requests", raw: "{put}" + lengthAndBody + "\x00{next}", want: "ok 400 close"},
		{name: "GET with a request as its body", raw: "{get}Content-Length: {nextn}\r\n\r\n{next}", want: "200|404|405"},
		{name: "GET and another request", raw: "{get}\r\n{next}", want: "200 next|404 next|405 next"},
		{name: "GET with a body and another request", raw: "{get}" + lengthAndBody + "{next}", want: "200 next|404 next|405 next"},
		{name: "GET with length of zero", raw: "{get}Content-Length: 0\r\n\r\n", want: "200|404|405"},
		{name: "HEAD", raw: "HEAD {target} HTTP/1.1\r\nHost: porchlight.example\r\n{auth}\r\n", want: "200|404|405"},
		{name: "HEAD with a request as its body", raw: "HEAD {target} HTTP/1.1\r\nHost: porchlight.example\r\n{auth}Content-Length: {nextn}\r\n\r\n{next}", want: "200|404|405"},
		{name: "PATCH", raw: withLine("PATCH {target} HTTP/1.1"), want: "404|405"},
		{name: "request in a field", raw: "{put}X-A: {body} PUT / HTTP/1.1\r\n" + lengthAndBody, want: "ok"},
		{name: "a refused request behind a valid one", raw: "{put}" + lengthAndBody + "{put}Content-Length: +{n}\r\n\r\n{body}{next}", want: "ok 400 close"},
	}
}

func expectCases() []framingCase {
	const continued = "ok|100 ok|ok close|100 ok close"
	return []framingCase{
		{name: "Expect: 100-continue with the body", raw: "{put}Expect: 100-continue\r\n" + lengthAndBody, want: continued},
		{name: "Expect: 100-Continue", raw: "{put}Expect: 100-Continue\r\n" + lengthAndBody, want: continued},
		{name: "Expect with chunked", raw: "{put}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}", want: continued},
		{name: "Expect without a body", raw: "{put}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", want: "4xx|4xx close"},
		{name: "Expect of HTTP/1.0", raw: withLine("PUT {target} HTTP/1.0\r\nExpect: 100-continue") + "{next}", want: "ok close"},
		{name: "unknown Expect", raw: "{put}Expect: the-unexpected\r\n" + lengthAndBody + "{next}", want: "417 close"},
		{name: "empty Expect", raw: "{put}Expect:\r\n" + lengthAndBody, want: "ok|417 close"},
		{name: "Expect with another expectation", raw: "{put}Expect: 100-continue, x\r\n" + lengthAndBody, want: "417 close|" + continued},
		{name: "two Expects", raw: "{put}Expect: 100-continue\r\nExpect: x\r\n" + lengthAndBody, want: "417 close|" + continued},
	}
}

func connectionCases() []framingCase {
	cases := []framingCase{
		{name: "Upgrade without Connection", raw: "{put}Upgrade: websocket\r\n" + lengthAndBody, want: "ok"},
		{name: "Connection: Upgrade without Upgrade", raw: "{put}Connection: Upgrade\r\n" + lengthAndBody, want: "ok"},
		{name: "Upgrade of a PUT", raw: "{put}Connection: Upgrade\r\nUpgrade: websocket\r\n" + lengthAndBody, want: "ok|ok close"},
		{name: "Upgrade to h2c", raw: "{put}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + lengthAndBody, want: "ok|ok close"},
		{name: "Proxy-Connection: close", raw: "{put}Proxy-Connection: close\r\n" + lengthAndBody, want: "ok"},
		{name: "close in a second field", raw: "{put}Connection: keep-alive\r\nConnection: close\r\n" + lengthAndBody + "{next}", want: "ok close"},
		{name: "GET with close", raw: "{get}Connection: close\r\n\r\n{next}", want: "200 close|404 close|405 close"},
	}
	for _, tokens := range []string{"close", "Close", "keep-alive, close", "close, keep-alive", "x,close", "\tclose "} {
		cases = append(cases, framingCase{name: "Connection: " + tokens, raw: "{put}Connection: " + tokens + "\r\n" + lengthAndBody + "{next}", want: "ok close"})
	}
	for _, tokens := range []string{"keep-alive", "", ",, ,", "closed", "x-close", "Content-Length", "Host", "x y", `"close"`} {
		cases = append(cases, framingCase{name: "Connection: " + tokens, raw: "{put}Connection: " + tokens + "\r\n" + lengthAndBody, want: "ok"})
	}
	return cases
}
