package zoomapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/webhook"
)

// webhookLogs is the path of Zoom's "Get webhook logs".
const webhookLogs = "/v2/marketplace/apps/{appId}/webhook_logs"

// Deliveries are the attempts of subscriptions, and the events of those without an
// endpoint; *webhook.Deliverer is one.
type Deliveries interface {
	Deliveries(ctx context.Context, s *webhook.Subscription, before string, limit int) (attempts []webhook.Attempt, more string, err error)
	Attach(ctx context.Context, s *webhook.Subscription, send func(context.Context, *webhook.Request) error) (*webhook.Attachment, error)
}

var mayReadLogs = grant{scope: auth.SubscriptionRead, label: medium, names: []string{"marketplace_app:read", "marketplace_app:read:admin"}}

// A webhookLog is an attempt in Zoom's words. The server keeps neither the request nor
// the headers of the answer.
type webhookLog struct {
	Event           string          `json:"event"`
	Status          int             `json:"status"`
	FailedReason    int             `json:"failed_reason_type,omitempty"`
	User            presence.UserID `json:"user_id,omitempty"`
	Endpoint        string          `json:"endpoint"`
	Subscription    string          `json:"subscription_id"`
	RequestHeaders  string          `json:"request_headers"`
	RequestBody     string          `json:"request_body"`
	ResponseHeaders string          `json:"response_headers"`
	ResponseBody    string          `json:"response_body"`
	Time            string          `json:"date_time"`
	Request         string          `json:"request_id"`
	Retry           int             `json:"retry_num"`
}

const notKept = "N/A"

// failedReasons are Zoom's numbers of the failures without an answer.
var failedReasons = map[webhook.Failure]int{
	webhook.FailureTimeout: 1, webhook.FailureConnect: 2, webhook.FailureInternal: 5, webhook.FailureRefused: 6,
	webhook.FailureClosed: 7, webhook.FailureProtocol: 7, webhook.FailureCanceled: 10, webhook.FailureTLS: 12,
	webhook.FailureName: 13, webhook.FailureToken: 14, webhook.FailureURL: 15, webhook.FailureConfig: 15,
}

func webhookLogOf(s *webhook.Subscription, a *webhook.Attempt) webhookLog {
	l := webhookLog{
		Event: a.Type, Status: a.Status, FailedReason: failedReasons[a.Failure], User: a.User, Endpoint: s.URL, Subscription: s.ID,
		RequestHeaders: notKept, RequestBody: notKept, ResponseHeaders: notKept, ResponseBody: string(a.Answer),
		Time: a.Started.UTC().Format("2006-01-02T15:04:05.000Z"), Request: a.Event, Retry: max(0, a.Number-1),
	}
	switch {
	case a.Status != 0:
	case a.Reason == "": // a client took it
		l.Status = http.StatusOK
	default:
		l.Status, l.ResponseBody = -1, a.Reason
	}
	return l
}

// A logFilter selects the attempts to list.
type logFilter struct {
	from, to time.Time
	event    string // empty: any
	kind     string // the query type: allLogs, failedLogs or goodLogs
	retry    int    // -1: any
}

// The query types. Failed attempts are the default.
const (
	failedLogs = "2"
	allLogs    = "1"
	goodLogs   = "3"
)

func (f *logFilter) selects(a *webhook.Attempt) bool {
	switch {
	case a.Started.Before(f.from), a.Started.After(f.to), f.event != "" && a.Type != f.event:
		return false
	case f.kind == failedLogs && a.Reason == "", f.kind == goodLogs && a.Reason != "":
		return false
	default:
		return f.retry < 0 || max(0, a.Number-1) == f.retry
	}
}

func (a *API) readLogFilter(q parameters) (f logFilter, err error) {
	if f.from, f.to, err = a.readRange(q); err != nil {
		return f, err
	}
	if f.kind, err = q.word("type", failedLogs, allLogs, goodLogs); err != nil {
		return f, err
	}
	f.event, f.retry = q.Get("event"), -1
	if text := q.Get("retry_num"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 3 {
			return f, &codeError{http.StatusBadRequest, 1506, "The 'retry_num' value must be an integer within the range of 0 to 3."}
		}
		f.retry = n
	}
	return f, nil
}

// readRange reads from and to: the last seven days unless they say less.
func (a *API) readRange(q parameters) (from, to time.Time, err error) {
	now := a.Clock().UTC()
	oldest := now.Add(-7 * day)
	refuse := func(code int, message string) error { return &codeError{http.StatusNotFound, code, message} }
	from, to = oldest, now
	for name, at := range map[string]*time.Time{"from": &from, "to": &to} {
		if text := q.Get(name); text != "" {
			if *at, err = time.Parse("2006-01-02T15:04:05Z", text); err != nil {
				return from, to, refuse(1503, "The dates must follow the format: `yyyy-MM-dd'T'HH:mm:ss'Z'`.")
			}
		}
	}
	switch {
	case from.After(now):
		return from, to, refuse(1504, "The 'from' date must be before the current date(UTC).")
	case from.Before(oldest.Add(-time.Minute)): // clocks differ
		return from, to, refuse(1502, "The date range must be within the last seven days.")
	case !to.After(from):
		return from, to, refuse(1501, "The 'to' date must be after the 'from' date.")
	default:
		return from, to, nil
	}
}

// listWebhookLogs is Zoom's "Get webhook logs": the attempts of one subscription of the
// app after the other, the newest of each first.
func (a *API) listWebhookLogs(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayReadLogs)
	if err != nil {
		return err
	}
	if !p.AccountLevel {
		return errNotApp
	}
	if id := r.PathValue("appId"); id != string(p.App) {
		return &codeError{http.StatusNotFound, 1401, "APP ID does not exist: " + id + "."}
	}
	q, err := readParameters(r)
	if err != nil {
		return err
	}
	filter, err := a.readLogFilter(q)
	if err != nil {
		return err
	}
	size, err := q.size(30, 300)
	if err != nil {
		return err
	}
	asked, err := a.part(p, q, size, webhookLogs, q.Get("from"), q.Get("to"), filter.event, filter.kind, q.Get("retry_num"))
	if err != nil {
		return err
	}
	logs, next, err := a.webhookLogs(r.Context(), p, &asked, &filter)
	if err != nil {
		return err
	}
	return answerJSON(w, struct {
		NextPageToken string       `json:"next_page_token"`
		PageSize      int          `json:"page_size"`
		Logs          []webhookLog `json:"webhook_logs"`
	}{a.pageToken(p, asked.bound, presence.UserID(next)), size, logs})
}

// webhookLogs is a page of attempts. A page continues at a subscription and a cursor in
// its attempts, with a space between; it may be short if many did not match.
func (a *API) webhookLogs(ctx context.Context, p *auth.Principal, asked *part, filter *logFilter) (page []webhookLog, next string, err error) {
	all, err := a.Events.Subscriptions.List(ctx, p.Account)
	if err != nil {
		return nil, "", err
	}
	page = []webhookLog{}
	begin, cursor, _ := strings.Cut(string(asked.after), " ")
	scanned := 0
	for _, s := range all { // in the order of their ids
		if !belongs(p, s) || s.ID < begin {
			continue
		}
		if s.ID != begin {
			cursor = ""
		}
		for more := true; more; more = cursor != "" {
			if len(page) == asked.size || scanned >= maxScan {
				return page, s.ID + " " + cursor, nil
			}
			var found []webhook.Attempt
			if found, cursor, err = a.Events.Deliveries.Deliveries(ctx, s, cursor, asked.size-len(page)); err != nil {
				return nil, "", err
			}
			scanned += len(found)
			for i := range found {
				if filter.selects(&found[i]) {
					page = append(page, webhookLogOf(s, &found[i]))
				}
			}
		}
	}
	return page, "", nil
}
