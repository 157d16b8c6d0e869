package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// confirm calls decide, which reads documents. If its error is a refusal, another node may have
// just stored what decide did not see: then confirm calls it again, on reads that see everything
// that any node stored before.
func (a *Authority) confirm(ctx context.Context, decide func() error, refusal func(error) bool) error {
	err := decide()
	if err == nil || a.cache.alone || !refusal(err) {
		return err
	}
	if err := a.catchUp(ctx); err != nil {
		return err
	}
	return decide()
}

// catchUp makes later reads of this node see everything that any node stored before.
func (a *Authority) catchUp(ctx context.Context) error {
	if _, _, err := a.docs.Read(ctx, nil, store.Freshness{Strong: true}); err != nil {
		return fmt.Errorf("catch up with the changes of other nodes: %w", err)
	}
	return nil
}

// find reads a document of the system that another node may have just stored. unknown is the
// error if there is none.
func (a *Authority) find(ctx context.Context, key store.Key, unknown error) (*store.Doc, error) {
	var found *store.Doc
	err := a.confirm(ctx, func() error {
		docs, err := a.docs.Load(ctx, system, key)
		if err != nil {
			return fmt.Errorf("read %s: %w", key.Collection, err)
		}
		if len(docs) == 0 {
			return unknown
		}
		found = &docs[0]
		return nil
	}, func(err error) bool { return errors.Is(err, unknown) })
	return found, err
}

// confirmRefusals judges the tokens of answers again that are not valid.
func (a *Authority) confirmRefusals(ctx context.Context, answers []*answer, now time.Time) {
	if a.cache.alone {
		return
	}
	var refused []*answer
	for _, found := range answers {
		if errors.Is(found.Value.err, ErrInvalidToken) {
			refused = append(refused, found)
		}
	}
	if len(refused) == 0 {
		return
	}
	err := a.catchUp(ctx)
	for _, found := range refused {
		found.Value.err = err
	}
	if err == nil {
		a.judge(ctx, refused, now)
	}
}
