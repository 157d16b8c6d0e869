package streamapi

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"porchlight.dev/porchlight/internal/wire"
)

// A reader splits the bytes of a WebSocket client into frames (RFC 6455). It buffers only
// incomplete frames and messages, so that an idle connection has no buffer.
type reader struct {
	partial   []byte // of a frame
	fragments []byte // of a message, without their headers
	state     ws.State
	kind      ws.OpCode // of the message in fragments
}

func newReader() reader { return reader{state: ws.StateServerSide} }

// A breach is a violation of the protocol, with the close code for it.
type breach struct {
	code ws.StatusCode
	err  error
}

func (b *breach) Error() string { return b.err.Error() }

func (b *breach) Unwrap() error { return b.err }

var (
	errLargeMessage = errors.New("a message may have 64 KiB")
	errText         = errors.New("a text must be UTF-8")
)

// read calls each for every complete frame: with the opcode and payload of a control
// frame or of a message, and with OpContinuation for a part of one. It stops when each
// returns false. It modifies b and does not retain it; payloads are valid as long as b.
func (r *reader) read(b []byte, each func(ws.OpCode, []byte) bool) error {
	if len(r.partial) > 0 {
		r.partial = append(r.partial, b...)
		b = r.partial
	}
	kept := len(r.partial)
	for len(b) > 0 {
		h, payload, n, err := r.frame(b)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		kind, message, err := r.assemble(h, payload)
		if err != nil {
			return err
		}
		if !each(kind, message) {
			return nil
		}
	}
	switch len(b) {
	case 0:
		r.partial = nil
	case kept: // b is the buffer itself
	default:
		r.partial = bytes.Clone(b)
	}
	return nil
}

// frame is the first frame in b and its length, 0 if it is incomplete. A frame that is
// too long or invalid is recognized by its header.
func (r *reader) frame(b []byte) (h ws.Header, payload []byte, n int, err error) {
	in := bytes.NewReader(b)
	h, err = ws.ReadHeader(in)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return h, nil, 0, nil
	case errors.Is(err, ws.ErrHeaderLengthMSB):
		return h, nil, 0, &breach{ws.StatusMessageTooBig, err}
	case err != nil:
		return h, nil, 0, &breach{ws.StatusProtocolError, err}
	}
	if err := ws.CheckHeader(h, r.state); err != nil {
		return h, nil, 0, &breach{ws.StatusProtocolError, err}
	}
	if h.Length > int64(wire.MaxBody-len(r.fragments)) && !h.OpCode.IsControl() {
		return h, nil, 0, &breach{ws.StatusMessageTooBig, errLargeMessage}
	}
	start := len(b) - in.Len()
	n = start + int(h.Length)
	if n > len(b) {
		return h, nil, 0, nil
	}
	payload = b[start:n]
	ws.Cipher(payload, h.Mask, 0)
	return h, payload, n, nil
}

// assemble joins fragments into messages.
func (r *reader) assemble(h ws.Header, payload []byte) (ws.OpCode, []byte, error) {
	kind := h.OpCode
	if kind.IsControl() {
		return kind, payload, nil
	}
	if kind == ws.OpContinuation {
		kind = r.kind
	}
	if !h.Fin {
		r.kind, r.fragments, r.state = kind, append(r.fragments, payload...), r.state.Set(ws.StateFragmented)
		return ws.OpContinuation, nil, nil
	}
	if r.state.Fragmented() {
		payload = append(r.fragments, payload...)
		r.fragments, r.state = nil, r.state.Clear(ws.StateFragmented)
	}
	if kind == ws.OpText && !utf8.Valid(payload) {
		return kind, nil, &breach{ws.StatusInvalidFramePayloadData, errText}
	}
	return kind, payload, nil
}

// closeAnswer is the close frame that answers one of a client.
func closeAnswer(payload []byte) []byte {
	if len(payload) == 0 {
		return ws.CompiledCloseNormalClosure
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if err := ws.CheckCloseFrameData(code, reason); err != nil {
		code = ws.StatusProtocolError
		if errors.Is(err, ws.ErrProtocolInvalidUTF8) {
			code = ws.StatusInvalidFramePayloadData
		}
	}
	return closeFrame(code)
}

func closeFrame(code ws.StatusCode) []byte {
	return ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
}
