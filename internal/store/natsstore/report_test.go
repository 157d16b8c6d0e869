package natsstore_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestReport: a report of a cluster has its leaders and replicas, a store that is missing or
// set wrongly is reported and not refused, and nothing is created or written.
func TestReport(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	options := servers.options()
	nothing := func(*natsstore.Store) { t.Error("there is nothing to read") }
	r, err := natsstore.Examine(t.Context(), servers.url(), options, nothing)
	if err != nil || !errors.Is(r.Unusable, natsstore.ErrMissing) || len(r.Streams) != 0 || len(r.Synced) != 3 {
		t.Errorf("no store: %+v, %v", r, err)
	}
	st := servers.open(t, options)
	key := store.Key{Collection: "c", Key: "k"}
	if err := st.Write(t.Context(), "", store.Doc{Key: key, Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	newest := func() uint64 {
		at, err := st.LastSeq(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := newest()
	read := false
	r, err = natsstore.Examine(t.Context(), servers.url(), options, func(s *natsstore.Store) {
		docs, err := s.Load(t.Context(), "", key)
		read = err == nil && len(docs) == 1 && string(docs[0].Value) == "value"
	})
	if err != nil || !read || r.Unusable != nil || r.SyncUnknown != nil || r.LimitUnknown != nil {
		t.Fatalf("%+v, %v, read: %v", r, err, read)
	}
	if after := newest(); after != before {
		t.Errorf("the newest message was %d and is %d", before, after)
	}
	if strings.Contains(r.Servers, password) || r.Version == "" || r.Missing != 0 || r.Used == 0 {
		t.Errorf("%+v", r)
	}
	if r.Within <= 0 || r.Ahead.Abs() > r.Within+natsstore.DefaultTimeout {
		t.Errorf("the clock is %v ahead, within %v", r.Ahead, r.Within)
	}
	for _, s := range r.Streams {
		if !s.Cluster || s.Leader == "" || s.Replicas != 3 || len(s.Offline) != 0 {
			t.Errorf("%+v", s)
		}
	}
	if !slices.ContainsFunc(r.Synced, func(s natsstore.ServerReport) bool { return s.Name == "n2" && s.SyncAlways && s.Version != "" }) {
		t.Errorf("%+v", r.Synced)
	}
	more := options
	more.Replicas, more.Retention, more.SystemURL = 5, natsstore.DefaultRetention/2, ""
	r, err = natsstore.Examine(t.Context(), servers.url(), more, func(*natsstore.Store) {})
	if err != nil || len(r.Settings) != 2 || !strings.Contains(r.Settings[0].Error(), "num_replicas") || !errors.Is(r.SyncUnknown, natsstore.ErrSystemAccount) {
		t.Errorf("other settings: %+v, %v", r, err)
	}
	if open := st.Report(t.Context()); open.Unusable != nil || len(open.Streams) != 2 {
		t.Errorf("of an open store: %+v", open)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestReportUnsynced: servers that do not sync every write are named.
func TestReportUnsynced(t *testing.T) {
	t.Parallel()
	servers := startServersIn(t, enginetest.DirInMemory(t), 1, "2m")
	r, err := natsstore.Examine(t.Context(), servers.url(), servers.options(), func(*natsstore.Store) {})
	if err != nil || len(r.Synced) != 1 || r.Synced[0].SyncAlways {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := natsstore.Examine(t.Context(), servers.urlOf(user, "wrong"), servers.options(), func(*natsstore.Store) {}); !errors.Is(err, natsstore.ErrDenied) {
		t.Errorf("a wrong password: %v", err)
	}
}
