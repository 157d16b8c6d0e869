package zoomapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"porchlight.dev/porchlight/internal/webhook"
)

// EventProfile is Zoom's schedule: three retries, and none after an answer below 500.
func EventProfile() webhook.Profile {
	return webhook.Profile{
		Name: "zoom", Timeout: 3 * time.Second,
		Delays: []time.Duration{5 * time.Minute, 20 * time.Minute, 60 * time.Minute},
	}
}

// Headers implements webhook.Form.
func (EventForm) Headers(secret, requestID string, at time.Time, body []byte) http.Header {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	return http.Header{
		"X-Zm-Request-Timestamp": {timestamp},
		"X-Zm-Request-Id":        {strings.ToLower(requestID)},
		"X-Zm-Signature":         {"v0=" + keyedDigest(secret, "v0:"+timestamp+":"+string(body))},
	}
}

func keyedDigest(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

const eventValidation = "endpoint.url_validation"

// Challenge has the endpoint sign a token with the secret.
func (EventForm) Challenge(secret, token string, at time.Time) webhook.Challenge {
	type payload struct {
		PlainToken string `json:"plainToken"`
	}
	body, err := json.Marshal(struct {
		Payload   payload `json:"payload"`
		Timestamp int64   `json:"event_ts"`
		Event     string  `json:"event"`
	}{payload{token}, at.UnixMilli(), eventValidation})
	if err != nil {
		panic(err) // the token is text
	}
	return webhook.Challenge{
		Method: http.MethodPost,
		Event:  webhook.Event{Type: eventValidation, Time: at, Header: eventHeader(), Body: body},
		Check: func(status int, _ http.Header, body []byte) error {
			return checkValidation(status, body, token, keyedDigest(secret, token))
		},
	}
}

// checkValidation checks an answer to a challenge. It repeats nothing of the answer, whose
// first bytes the attempt has.
func checkValidation(status int, body []byte, plain, encrypted string) error {
	if status != http.StatusOK && status != http.StatusNoContent {
		return fmt.Errorf("the endpoint answered %d to %s, want 200", status, eventValidation)
	}
	var answer struct {
		Plain     string `json:"plainToken"`
		Encrypted string `json:"encryptedToken"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the answer to %s is not a JSON object with plainToken and encryptedToken", eventValidation)
	}
	switch {
	case answer.Plain != plain:
		return errors.New("plainToken of the answer is not the one that was sent")
	case !hmac.Equal([]byte(answer.Encrypted), []byte(encrypted)):
		return errors.New("encryptedToken of the answer is not the HMAC-SHA256 of plainToken, in hexadecimal, with the secret token: does the endpoint have the right secret?")
	default:
		return nil
	}
}
