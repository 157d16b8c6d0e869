package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collector takes what is sent to one URL.
type collector struct {
	url    string
	header http.Header
	client *http.Client
}

const (
	defaultTimeout = 10 * time.Second
	// attempts and firstBackoff bound how long a batch is retried, while the queue fills.
	attempts     = 3
	firstBackoff = time.Second
	maxAnswer    = 64 << 10
	// maxRetryAfter bounds what a collector may ask for, so that a wrong header does not
	// end the export.
	maxRetryAfter = 5 * time.Minute
)

// send sends a message, again if the collector asks for it or cannot be reached. It waits
// as long as the collector says, or longer each time.
func (c *collector) send(ctx context.Context, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	for n, backoff := 1, firstBackoff; ; n, backoff = n+1, 2*backoff {
		again, after, err := c.post(ctx, body)
		if err == nil || !again || n == attempts {
			return err
		}
		select {
		case <-time.After(max(backoff, after)):
		case <-ctx.Done():
			return err
		}
	}
}

// post sends a body once, and reports whether to send it again, and after how long at the
// earliest.
func (c *collector) post(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	request.Header = c.header.Clone()
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := c.client.Do(request)
	if err != nil {
		return true, 0, withoutURL(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // to keep the connection
	switch response.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, retryAfter(response.Header.Get("Retry-After")), fmt.Errorf("the collector answered %s", response.Status)
}

// retryAfter reads the header Retry-After, a number of seconds or a date; 0: there is none.
func retryAfter(text string) time.Duration {
	after := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		after = time.Until(at)
	}
	return min(max(after, 0), maxRetryAfter)
}

// withoutURL is an error without the URL, which may contain a password.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// UploadTraces implements otlptrace.Client.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	return c.send(ctx, &tracepb.TracesData{ResourceSpans: spans})
}

// Start implements otlptrace.Client.
func (*collector) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *collector) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// newCollector reads what the standard variables say of a signal, "TRACES" or "METRICS".
// It is nil if the signal has no endpoint.
func newCollector(o *Options, signal string) (*collector, error) {
	get := func(name string) string { return o.signalVariable(signal, name) }
	at := o.Getenv("OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT")
	if base := o.endpoint(); at == "" && base != "" {
		at = strings.TrimSuffix(base, "/") + "/v1/" + strings.ToLower(signal)
	}
	if at == "" || o.Getenv("OTEL_"+signal+"_EXPORTER") == "none" || o.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil //nolint:nilnil // the documented answer
	}
	if u, err := url.Parse(at); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the endpoint for telemetry is not a URL: expected a form such as http://127.0.0.1:4318")
	}
	if protocol := get("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: only http/protobuf is supported", protocol)
	}
	header, err := parseHeaders(o.Headers, get("HEADERS"))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}
	if file := get("CERTIFICATE"); file != "" {
		if transport.TLSClientConfig, err = trusting(file); err != nil {
			return nil, err
		}
	}
	timeout := defaultTimeout
	if ms, err := strconv.Atoi(get("TIMEOUT")); err == nil && ms > 0 {
		timeout = time.Duration(ms) * time.Millisecond
	}
	client := &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: stay}
	return &collector{url: at, header: header, client: client}, nil
}

// stay follows no redirect: it would take the headers, which may have a secret, elsewhere.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func trusting(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE %s has no certificate in PEM form", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// parseHeaders reads the headers of otlp-headers-file, a NAME=VALUE in each line, and those of
// the standard variable, which take precedence: NAME=VALUE,… with values that are
// percent-encoded.
func parseHeaders(lines, variable string) (http.Header, error) {
	header := make(http.Header)
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := cutHeader(line)
		if !ok {
			return nil, errors.New("otlp-headers-file cannot be read: expected a NAME=VALUE in each line")
		}
		header.Set(name, value)
	}
	for pair := range strings.SplitSeq(variable, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := cutHeader(pair)
		value, err := url.PathUnescape(value)
		if !ok || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS cannot be read: expected NAME=VALUE, separated by commas")
		}
		header.Set(name, value)
	}
	return header, nil
}

func cutHeader(text string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	return name, value, ok && name != ""
}
