package server_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// TestWebhook: the server validates an endpoint, sends it the events of changes that were
// made by its API, signed with the secret of the subscription, and counts them.
func TestWebhook(t *testing.T) {
	received := make(chan *http.Request, 16)
	bodies := make(chan string, 16)
	const secret = "the-secret-of-the-test" // chosen here, so that the endpoint knows it before it is asked
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event struct {
			Event   string
			Payload struct{ PlainToken string }
		}
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if event.Event == "endpoint.url_validation" {
			_ = json.NewEncoder(w).Encode(map[string]string{
				"plainToken": event.Payload.PlainToken, "encryptedToken": keyed(secret, event.Payload.PlainToken),
			})
			return
		}
		received <- r
		bodies <- string(body)
	}))
	defer endpoint.Close()
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	if status, answer := r.subscribe(t, `{"url":"`+endpoint.URL+`"}`); status != http.StatusBadRequest || !strings.Contains(answer, "webhook-allow") {
		t.Errorf("a loopback address: %d %s", status, answer)
	}
	cfg = settings(t)
	cfg.WebhookAllow = "127.0.0.0/8"
	r = start(t, cfg, server.Options{})
	body := `{"url":"` + endpoint.URL + `","form":"zoom","secret":"` + secret + `","events":["user.presence_status_updated"]}`
	if status, answer := r.subscribe(t, strings.ReplaceAll(body, secret, "another-secret-of-it")); status != http.StatusUnprocessableEntity {
		t.Errorf("with another secret: %d %s", status, answer)
	}
	status, answer := r.subscribe(t, body)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	if _, err := r.client.SignIn(t.Context(), r.made.OwnerID, longSignIn("web")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-received:
		text := <-bodies
		at := got.Header.Get("X-Zm-Request-Timestamp")
		if got.Header.Get("X-Zm-Signature") != "v0="+keyed(secret, "v0:"+at+":"+text) || !strings.Contains(text, `"presence_status":"Available"`) {
			t.Errorf("%v %s", got.Header, text)
		}
		if !strings.HasPrefix(got.Header.Get("Webhook-Id"), "evt_") {
			t.Errorf("%v", got.Header)
		}
	case <-time.After(waitLimit):
		t.Fatal("no event arrived")
	}
	for deadline := time.Now().Add(waitLimit); r.metric(t, "porchlight_webhook_accepted_total") != "1"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("accepted: %s", r.metric(t, "porchlight_webhook_accepted_total"))
		}
	}
	if n := r.metric(t, "porchlight_webhook_subscriptions"); n != "1" {
		t.Errorf("%s subscriptions", n)
	}
}

func keyed(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func (r *running) subscribe(t *testing.T, body string) (status int, answer string) {
	t.Helper()
	response, answer := r.roundTrip(t, "POST", "/v1/subscriptions", body, "Authorization", "Bearer "+r.made.AccessToken, "Content-Type", "application/json")
	return response.StatusCode, answer
}
