package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks, and those of the server.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerTrace     = "Traceparent"
	headerRevision  = "Porchlight-Revision"
	headerAttempt   = "Porchlight-Attempt"
	headerStale     = "Porchlight-Stale"
)

// signStandard sets the headers of Standard Webhooks. All secrets that are valid at the
// time sign, so that a receiver that has any of them accepts the message.
func signStandard(h http.Header, secrets []Secret, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, signingKey(secret.Value))
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, timestamp)
	h.Set(headerSignature, strings.Join(signatures, " "))
}

// signingKey is the key of a secret: what whsec_ encodes, or the bytes of any other text.
func signingKey(secret string) []byte {
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(secret)
}

// validSecrets are those that sign at the time, the newest first.
func validSecrets(all []Secret, at time.Time) []Secret {
	var valid []Secret
	for _, s := range all {
		if s.Value != "" && (s.Until.IsZero() || at.Before(s.Until)) {
			valid = append(valid, s)
		}
	}
	return valid
}

// traceParent is the W3C trace context of an attempt. All attempts of an event are one
// trace. It is marked as sampled because receivers whose tracing follows the sender's
// decision would otherwise record nothing.
func traceParent(id string, number int) string {
	trace := traceID(id)
	span := sha256.Sum256([]byte(id + "/" + strconv.Itoa(number)))
	return "00-" + hex.EncodeToString(trace[:]) + "-" + hex.EncodeToString(span[:8]) + "-01"
}

// traceID is the id of the trace of an event.
func traceID(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}
