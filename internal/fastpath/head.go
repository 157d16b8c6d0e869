package fastpath

import (
	"bytes"

	"porchlight.dev/porchlight/internal/wire"
)

// A kind is what a header field means to hot routes.
type kind uint8

const (
	unknown  kind = iota // the request is declined
	harmless             // no handler of a hot route reads it
	host
	authorization
	contentType
	connection
	forwardedFor
	forwardedProto
	forwardedHost
	requestID
	traceparent
	tracestate
)

// maxName is the length of the longest name in kinds.
const maxName = 32

// kinds are the header fields, in lower case, that requests on hot routes may have: those
// that have a meaning here, and those that common clients and proxies send.
var kinds = map[string]kind{
	"host":              host,
	"authorization":     authorization,
	"content-type":      contentType,
	"connection":        connection,
	"x-forwarded-for":   forwardedFor,
	"x-forwarded-proto": forwardedProto,
	"x-forwarded-host":  forwardedHost,
	"x-request-id":      requestID,

	"content-length": harmless, // the framer has read it

	"accept":              harmless,
	"accept-charset":      harmless,
	"accept-encoding":     harmless,
	"accept-language":     harmless,
	"cache-control":       harmless,
	"dnt":                 harmless,
	"from":                harmless,
	"keep-alive":          harmless,
	"postman-token":       harmless,
	"pragma":              harmless,
	"priority":            harmless,
	"referer":             harmless,
	"sec-fetch-dest":      harmless,
	"sec-fetch-mode":      harmless,
	"sec-fetch-site":      harmless,
	"sec-gpc":             harmless,
	"user-agent":          harmless,
	"x-client-version":    harmless,
	"x-correlation-id":    harmless,
	"x-requested-with":    harmless,
	"x-stainless-lang":    harmless,
	"x-app-version":       harmless,
	"x-client-name":       harmless,
	"x-client-request-id": harmless,

	// Tracing.
	"b3":                    harmless,
	"baggage":               harmless,
	"correlation-context":   harmless,
	"newrelic":              harmless,
	"request-id":            harmless,
	"sentry-trace":          harmless,
	"traceparent":           traceparent,
	"tracestate":            tracestate,
	"uber-trace-id":         harmless,
	"x-amzn-trace-id":       harmless,
	"x-b3-flags":            harmless,
	"x-b3-parentspanid":     harmless,
	"x-b3-sampled":          harmless,
	"x-b3-spanid":           harmless,
	"x-b3-traceid":          harmless,
	"x-cloud-trace-context": harmless,

	// Proxies.
	"cdn-loop":                 harmless,
	"cf-connecting-ip":         harmless,
	"cf-ipcountry":             harmless,
	"cf-ray":                   harmless,
	"cf-visitor":               harmless,
	"forwarded":                harmless,
	"true-client-ip":           harmless,
	"via":                      harmless,
	"x-client-ip":              harmless,
	"x-envoy-external-addr":    harmless,
	"x-forwarded":              harmless,
	"x-forwarded-port":         harmless,
	"x-forwarded-prefix":       harmless,
	"x-forwarded-scheme":       harmless,
	"x-forwarded-server":       harmless,
	"x-forwarded-ssl":          harmless,
	"x-original-forwarded-for": harmless,
	"x-real-ip":                harmless,
	"x-scheme":                 harmless,
}

// kindOf finds the kind of a field.
func kindOf(name []byte) kind {
	var lower [maxName]byte
	if len(name) > maxName {
		return unknown
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return kinds[string(lower[:len(name)])]
}

// readHead reads the header fields. It reports whether all of them are understood, and the
// request has what its route needs.
func (x *Exchange) readHead() bool {
	var hosts, tokens, types, connections int
	ok := true
	for i := range x.request.Fields {
		f := &x.request.Fields[i]
		switch kindOf(f.Name) {
		case harmless:
		case host:
			hosts++
			ok = ok && isHost(f.Value)
		case authorization:
			tokens++
			ok = ok && x.readToken(f.Value)
		case contentType:
			types++
			ok = ok && isJSON(f.Value)
		case connection:
			connections++
			ok = ok && (equalFold(f.Value, "keep-alive") || equalFold(f.Value, "close"))
		case forwardedFor:
			x.forward(&x.forwarded.For, f.Value)
		case forwardedProto:
			x.forward(&x.forwarded.Proto, f.Value)
		case forwardedHost:
			x.forward(&x.forwarded.Host, f.Value)
		case requestID:
			x.forward(&x.forwarded.RequestID, f.Value)
		case traceparent:
			if x.server.observer.Tracer != nil {
				x.parents = append(x.parents, string(f.Value))
			}
		case tracestate:
			if x.server.observer.Tracer != nil {
				x.states = append(x.states, string(f.Value))
			}
		default:
			return false
		}
	}
	if x.route.body {
		ok = ok && types == 1 && len(x.request.Body) > 0
	} else {
		ok = ok && len(x.request.Body) == 0
	}
	return ok && hosts == 1 && tokens == 1 && types <= 1 && connections <= 1
}

// maxToken bounds a token: the peer keeps it for as long as the connection lasts. Those that
// this server issues are much shorter.
const maxToken = 256

// readToken reads "Bearer" and a token.
func (x *Exchange) readToken(value []byte) bool {
	scheme, token, ok := bytes.Cut(value, []byte(" "))
	if token = bytes.Trim(token, " "); !ok || !equalFold(scheme, "bearer") || len(token) == 0 || len(token) > maxToken {
		return false
	}
	if x.peer.token != string(token) { // most clients use one for all requests of a connection
		x.peer.token = string(token)
	}
	return true
}

// forward keeps a value that only proxies may set.
func (x *Exchange) forward(values *[]string, value []byte) {
	if x.peer.trusted {
		*values = append(*values, string(value))
	}
}

// arrival is the request for the observer.
func (x *Exchange) arrival() *wire.Arrival {
	x.arrived = wire.Arrival{
		Method: x.route.method, Path: x.request.Target, Remote: x.peer.remote, Peer: x.peer.client, Connection: x.peer.connection,
		Meter: x.route.meter, Parents: x.parents, States: x.states,
	}
	if x.peer.trusted {
		x.arrived.Forwarded = &x.forwarded
	}
	return &x.arrived
}

// isHost reports whether a value is a plain host, with or without a port.
func isHost(value []byte) bool {
	for _, c := range value {
		if !isPlain(c) && c != '.' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return len(value) > 0
}

// isJSON reports whether a media type is that of JSON in UTF-8, as common clients write it.
func isJSON(value []byte) bool {
	return string(value) == "application/json" || equalFold(value, "application/json; charset=utf-8") || equalFold(value, "application/json;charset=utf-8")
}

// equalFold reports whether text is word but for the case of its letters, all in ASCII.
func equalFold(text []byte, word string) bool {
	return len(text) == len(word) && bytes.EqualFold(text, []byte(word))
}
