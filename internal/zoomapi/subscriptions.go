package zoomapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// The paths of Zoom's event subscriptions.
const (
	eventSubscriptions = "/v2/marketplace/app/event_subscription"
	eventSubscription  = "/v2/marketplace/app/event_subscription/{eventSubscriptionId}"
)

// Subscriptions stores subscriptions; *webhook.Registry is one.
type Subscriptions interface {
	Create(ctx context.Context, asked *webhook.Subscription) (*webhook.Subscription, error)
	Get(ctx context.Context, account presence.AccountID, id string) (*webhook.Subscription, error)
	List(ctx context.Context, account presence.AccountID) ([]*webhook.Subscription, error)
	Update(
		ctx context.Context, account presence.AccountID, id string, change func(*webhook.Subscription) error,
	) (*webhook.Subscription, error)
	Delete(ctx context.Context, account presence.AccountID, id string, check func(*webhook.Subscription) error) error
}

// Events are the parts of the API that concern events.
type Events struct {
	Subscriptions Subscriptions
	Deliveries    Deliveries
	Sockets       *eventsocket.Sockets
	Audit         audit.Recorder
}

// recordSubscription records that a subscription was created, changed or deleted.
func (a *API) recordSubscription(w http.ResponseWriter, r *http.Request, p *auth.Principal, verb, id string) error {
	e := &audit.Event{Action: "subscription." + verb, Target: "subscription/" + id, By: wire.Actor(w, p)}
	return a.Events.Audit.Record(r.Context(), p.Account, e)
}

func (a *API) mountEvents(rt *wire.Router) {
	rt.Area(eventSocketPath, a)
	rt.Handle(http.MethodPost, eventSubscriptions, a, a.createSubscription)
	rt.Handle(http.MethodGet, eventSubscriptions, a, a.listSubscriptions)
	rt.Handle(http.MethodDelete, eventSubscriptions, a, a.unsubscribe)
	rt.Handle(http.MethodPatch, eventSubscription, a, a.subscribe)
	rt.Handle(http.MethodDelete, eventSubscription, a, a.deleteSubscription)
	rt.Handle(http.MethodGet, webhookLogs, a, a.listWebhookLogs)
	rt.Handle(http.MethodGet, eventSocketPath, a, a.serveEventSocket)
}

// A codeError is an error with a code and a message of Zoom's.
type codeError struct {
	status, code int
	message      string
}

func (e *codeError) Error() string { return e.message }

// badEvents refuses what Zoom answers with 1500.
func badEvents(message string) error { return &codeError{http.StatusBadRequest, 1500, message} }

func noSubscription(id string) error {
	return &codeError{http.StatusNotFound, 1601, "App event subscription is invalid: " + id}
}

func noMember(ref string) error {
	return &codeError{http.StatusNotFound, 1001, "User does not exist or does not belong to this account: " + ref + "."}
}

// errNotApp: Zoom documents no scope for subscriptions. They belong to an app, and so
// need its own token.
var errNotApp = &codeError{
	http.StatusForbidden, 403,
	"Authenticated user has not permitted access to the targeted resource: event subscriptions need an app's own token.",
}

// admitApp is what a request about subscriptions passes first: an app's own token, the
// account's limit.
func (a *API) admitApp(w http.ResponseWriter, r *http.Request, kind label) (*auth.Principal, error) {
	p, err := wire.Principal(w, r, a.Auth)
	if err != nil {
		return nil, err
	}
	if !p.AccountLevel {
		return nil, errNotApp
	}
	return p, a.Limits.takeRequest(w.Header(), p, kind)
}

// The scopes of a subscription.
const (
	scopeUser    = "user"
	scopeAccount = "account"
	scopeMaster  = "master_account"
)

// checkScope checks a subscription_scope.
func checkScope(scope string) error {
	if scope != scopeUser && scope != scopeAccount && scope != scopeMaster {
		return badEvents("The subscription scope is invalid.")
	}
	return nil
}

// eventNeed is the scope with which an app may read what an event tells.
func eventNeed(eventType string) auth.Scope {
	switch eventType {
	case eventPresence, eventSignedIn, eventSignedOut, eventNote:
		return auth.PresenceRead
	default:
		return auth.DirectoryRead
	}
}

// checkEvents checks that the events exist, and that the app may read them of these users
// (none: of all).
func checkEvents(p *auth.Principal, events []string, users []presence.UserID) error {
	if len(events) == 0 {
		return badEvents("The events list is empty.")
	}
	for _, name := range events {
		if !slices.Contains(EventForm{}.Types(), name) {
			return &codeError{http.StatusNotFound, 1601, "App event not exists: " + name}
		}
		need := eventNeed(name)
		own := len(users) > 0 && !slices.ContainsFunc(users, func(u presence.UserID) bool { return u != p.User })
		if !p.Scopes.HasAdmin(need) && (!own || !p.Scopes.Has(need)) {
			return &codeError{http.StatusBadRequest, 1602, "The event is not allowed for the app: " + name}
		}
	}
	return nil
}

// maxUserIDs is how many users a request may name.
const maxUserIDs = 10

// members finds the users that a request names.
func (a *API) members(ctx context.Context, p *auth.Principal, refs []string) ([]presence.UserID, error) {
	if len(refs) > maxUserIDs {
		return nil, badEvents("The user_ids list has more than 10 users.")
	}
	ids := make([]presence.UserID, 0, len(refs))
	for _, ref := range refs {
		id, err := a.userOf(ctx, p, ref)
		if err == nil {
			_, err = a.Directory.Find(ctx, p.Account, string(id))
		}
		if errors.Is(err, directory.ErrNoUser) {
			return nil, noMember(ref)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// checkAccount checks an account_id.
func checkAccount(p *auth.Principal, id string) error {
	if id != "" && id != string(p.Account) {
		return &codeError{http.StatusNotFound, 2001, "Account does not exist: " + id + "."}
	}
	return nil
}

// readJSON reads a body of JSON; members that it does not know are ignored.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	kind, _, err := wire.MediaType(r)
	if err != nil {
		return err
	}
	if kind != "" && kind != "application/json" {
		return &wire.MediaTypeError{Given: r.Header.Get("Content-Type"), Accepted: "application/json"}
	}
	body, err := wire.ReadBody(w, r, wire.MaxBody)
	if err != nil {
		return err
	}
	err = wire.DecodeKnown(body, into)
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		return invalid(e.Field, "It "+e.Reason+".")
	}
	if err != nil {
		return errNotObject
	}
	return nil
}

// createSubscription is Zoom's "Create an event subscription".
func (a *API) createSubscription(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admitApp(w, r, heavy)
	if err != nil {
		return err
	}
	var asked struct {
		Events  []string      `json:"events"`
		Name    string        `json:"event_subscription_name"`
		URL     string        `json:"event_webhook_url"`
		Users   []string      `json:"user_ids"`
		Scope   string        `json:"subscription_scope"`
		Account string        `json:"account_id"`
		Header  *customHeader `json:"custom_header"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if asked.URL == "" {
		return badEvents("The event webhook url is empty.")
	}
	if err := errors.Join(checkScope(asked.Scope), checkAccount(p, asked.Account)); err != nil {
		return err
	}
	s := &webhook.Subscription{
		Account: p.Account, App: p.App, Name: asked.Name, URL: asked.URL, Form: EventForm{}.Name(), Events: asked.Events,
		Profile: EventProfile().Name,
	}
	if asked.Scope == scopeUser {
		if len(asked.Users) == 0 {
			asked.Users = []string{"me"}
		}
		if s.Users, err = a.members(r.Context(), p, asked.Users); err != nil {
			return err
		}
	}
	if err := checkEvents(p, s.Events, s.Users); err != nil {
		return err
	}
	if s.Auth, err = asked.Header.authentication(); err != nil {
		return err
	}
	created, err := a.Events.Subscriptions.Create(r.Context(), s)
	if err != nil {
		return refusedSubscription(s, err)
	}
	if err := a.recordSubscription(w, r, p, "create", created.ID); err != nil {
		return err
	}
	return answerJSONAs(w, http.StatusCreated, struct {
		ID string `json:"event_subscription_id"`
	}{created.ID})
}

// refusedSubscription puts a refusal of the registry into Zoom's words, followed by the
// reason.
func refusedSubscription(s *webhook.Subscription, err error) error {
	field, isField := errors.AsType[*presence.FieldError](err)
	failed, isFailed := errors.AsType[*webhook.ValidationError](err)
	limit, isLimit := errors.AsType[*webhook.LimitError](err)
	switch {
	case isFailed:
		return &codeError{http.StatusNotFound, 1701, "The event webhook url validate failed: " + webhook.ShortURL(s.URL) + ". " + sentence(failed.Error())}
	case isField && field.Field == "url":
		return &codeError{http.StatusNotFound, 1701, "The event webhook url validate failed: " + webhook.ShortURL(s.URL) + ". " + sentence("it "+field.Reason)}
	case isField && field.Field == "authentication" && s.Auth.Kind == webhook.AuthOAuth:
		return &codeError{http.StatusNotFound, 1702, "The Oauth token url validate failed: " + webhook.ShortURL(s.Auth.TokenURL) + ". " + sentence("it "+field.Reason)}
	case isField && field.Field == "authentication":
		return badEvents(sentence("the custom header " + field.Reason))
	case isField:
		return badEvents(sentence(field.Field + " " + field.Reason))
	case isLimit:
		return badEvents(sentence(limit.Error()))
	default:
		return err
	}
}

// subscribedEvents are the events of a subscription.
func subscribedEvents(s *webhook.Subscription) []string {
	if len(s.Events) == 0 {
		return EventForm{}.Types()
	}
	return s.Events
}

// belongs reports whether a subscription is one of the token's app, in Zoom's form.
func belongs(p *auth.Principal, s *webhook.Subscription) bool {
	return s.App == p.App && s.Owner == "" && s.Form == EventForm{}.Name()
}

// A subscribed is an item of the list.
type subscribed struct {
	ID         string        `json:"event_subscription_id"`
	Events     []string      `json:"events"`
	Name       string        `json:"event_subscription_name"`
	URL        string        `json:"event_webhook_url"`
	Scope      string        `json:"subscription_scope"`
	Source     string        `json:"created_source"`
	Subscriber string        `json:"subscriber_id"`
	Header     *customHeader `json:"custom_header"`
}

func subscribedOf(s *webhook.Subscription, user presence.UserID) subscribed {
	item := subscribed{
		ID: s.ID, Events: subscribedEvents(s), Name: s.Name, URL: s.URL, Scope: scopeOf(s), Source: "openapi",
		Subscriber: string(s.Account), Header: customHeaderOf(&s.Auth),
	}
	if item.Scope == scopeUser {
		item.Subscriber = string(cmp.Or(user, s.Users[0]))
	}
	return item
}

func scopeOf(s *webhook.Subscription) string {
	if len(s.Users) > 0 {
		return scopeUser
	}
	return scopeAccount
}

// A subscriptionFilter selects the subscriptions to list.
type subscriptionFilter struct {
	user  presence.UserID // empty: any
	scope string          // empty: any
}

func (f *subscriptionFilter) selects(s *webhook.Subscription) bool {
	if f.scope != "" && f.scope != scopeOf(s) {
		return false
	}
	return f.user == "" || len(s.Users) == 0 || slices.Contains(s.Users, f.user)
}

// listSubscriptions is Zoom's "Get user or account event subscription".
func (a *API) listSubscriptions(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admitApp(w, r, medium)
	if err != nil {
		return err
	}
	q, err := readParameters(r)
	if err != nil {
		return err
	}
	filter, err := a.readFilter(r.Context(), p, q)
	if err != nil {
		return err
	}
	size, err := q.size(30, 300)
	if err != nil {
		return err
	}
	asked, err := a.part(p, q, size, eventSubscriptions, string(filter.user), filter.scope)
	if err != nil {
		return err
	}
	all, err := a.Events.Subscriptions.List(r.Context(), p.Account)
	if err != nil {
		return err
	}
	page := struct {
		NextPageToken string       `json:"next_page_token"`
		PageSize      int          `json:"page_size"`
		Subscriptions []subscribed `json:"event_subscriptions"`
	}{PageSize: size, Subscriptions: []subscribed{}}
	for _, s := range all { // in the order of their ids
		if !belongs(p, s) || s.ID <= string(asked.after) || !filter.selects(s) {
			continue
		}
		if n := len(page.Subscriptions); n == size {
			page.NextPageToken = a.pageToken(p, asked.bound, presence.UserID(page.Subscriptions[n-1].ID))
			break
		}
		page.Subscriptions = append(page.Subscriptions, subscribedOf(s, filter.user))
	}
	return answerJSON(w, &page)
}

func (a *API) readFilter(ctx context.Context, p *auth.Principal, q parameters) (f subscriptionFilter, err error) {
	if err := checkAccount(p, q.Get("account_id")); err != nil {
		return f, err
	}
	if f.scope = q.Get("subscription_scope"); f.scope != "" {
		if err := checkScope(f.scope); err != nil {
			return f, err
		}
	}
	if ref := q.Get("user_id"); ref != "" {
		ids, err := a.members(ctx, p, []string{ref})
		if err != nil {
			return f, err
		}
		f.user = ids[0]
	}
	return f, nil
}

// subscribe is Zoom's "Subscribe an event subscription": it adds users. Of an account, all
// are subscribed.
func (a *API) subscribe(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admitApp(w, r, medium)
	if err != nil {
		return err
	}
	var asked struct {
		Users   []string `json:"user_ids"`
		Account string   `json:"account_id"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if err := checkAccount(p, asked.Account); err != nil {
		return err
	}
	users, err := a.members(r.Context(), p, asked.Users)
	if err != nil {
		return err
	}
	err = a.changeSubscription(r.Context(), p, r.PathValue("eventSubscriptionId"), func(s *webhook.Subscription) error {
		if len(s.Users) == 0 {
			return nil
		}
		s.Users = append(s.Users, users...)
		return checkEvents(p, subscribedEvents(s), s.Users)
	})
	if err == nil {
		err = a.recordSubscription(w, r, p, "update", r.PathValue("eventSubscriptionId"))
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// changeSubscription changes a subscription of the token's app.
func (a *API) changeSubscription(ctx context.Context, p *auth.Principal, id string, change func(*webhook.Subscription) error) error {
	var changed *webhook.Subscription
	_, err := a.Events.Subscriptions.Update(ctx, p.Account, id, func(s *webhook.Subscription) error {
		if !belongs(p, s) {
			return webhook.ErrNoSubscription
		}
		changed = s
		return change(s)
	})
	switch {
	case errors.Is(err, webhook.ErrNoSubscription):
		return noSubscription(id)
	case err != nil && changed != nil:
		return refusedSubscription(changed, err)
	default:
		return err
	}
}

// errNobody: nobody would be subscribed any more.
var errNobody = errors.New("no user is left in the subscription")

// unsubscribe is Zoom's "Unsubscribe app event subscription": it removes users. A
// subscription without any is deleted, as is that of an account.
func (a *API) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admitApp(w, r, medium)
	if err != nil {
		return err
	}
	q, err := readParameters(r)
	if err != nil {
		return err
	}
	if err := checkAccount(p, q.Get("account_id")); err != nil {
		return err
	}
	users, err := a.leavers(r.Context(), p, q.Get("user_ids"))
	if err != nil {
		return err
	}
	id := q.Get("event_subscription_id")
	err = a.changeSubscription(r.Context(), p, id, func(s *webhook.Subscription) error {
		if len(s.Users) == 0 && users != nil {
			return badEvents("The subscription is for all users of the account: single users cannot be unsubscribed.")
		}
		left := slices.DeleteFunc(s.Users, func(u presence.UserID) bool { return slices.Contains(users, u) })
		if len(left) == 0 || users == nil {
			return errNobody
		}
		s.Users = left
		return nil
	})
	if errors.Is(err, errNobody) {
		return a.remove(w, r, p, id)
	}
	if err == nil {
		err = a.recordSubscription(w, r, p, "update", id)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// leavers finds the users of a list with commas; nil: it is empty.
func (a *API) leavers(ctx context.Context, p *auth.Principal, list string) ([]presence.UserID, error) {
	if list == "" {
		return nil, nil
	}
	return a.members(ctx, p, strings.Split(list, ","))
}

// deleteSubscription is Zoom's "Delete an event subscription".
func (a *API) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admitApp(w, r, medium)
	if err != nil {
		return err
	}
	return a.remove(w, r, p, r.PathValue("eventSubscriptionId"))
}

func (a *API) remove(w http.ResponseWriter, r *http.Request, p *auth.Principal, id string) error {
	err := a.Events.Subscriptions.Delete(r.Context(), p.Account, id, func(s *webhook.Subscription) error {
		if !belongs(p, s) {
			return webhook.ErrNoSubscription
		}
		return nil
	})
	if errors.Is(err, webhook.ErrNoSubscription) {
		return noSubscription(id)
	}
	if err == nil {
		err = a.recordSubscription(w, r, p, "delete", id)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
