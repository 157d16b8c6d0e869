package provision

import (
	"context"
	"errors"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// PublishGroupRules publishes a user's rules again after a change of its contacts, if
// the rules depend on groups of contacts.
func (p *Provisioner) PublishGroupRules(ctx context.Context, u store.User, actor store.Actor) error {
	rules, err := p.Directory.Rules(ctx, u.Account, u.ID)
	if err != nil || !rules.UsesGroups {
		return err
	}
	return p.publishUntilCurrent(ctx, u, actor, rules)
}

// PublishVisibility publishes the rules that follow from a user's declaration.
func (p *Provisioner) PublishVisibility(ctx context.Context, u store.User, actor store.Actor) error {
	rules, err := p.Directory.Rules(ctx, u.Account, u.ID)
	if err != nil {
		return err
	}
	return p.publishUntilCurrent(ctx, u, actor, rules)
}

// maxPublications bounds how often publishUntilCurrent publishes rules.
const maxPublications = 8

// publishUntilCurrent writes rules to the user's record. It reads the rules again
// afterwards and repeats if they changed, so that of two concurrent writers the last
// one publishes the result of both. The rules of a deactivated user are published
// when the user is activated.
func (p *Provisioner) publishUntilCurrent(ctx context.Context, u store.User, actor store.Actor, rules directory.Rules) error {
	for range maxPublications {
		event := presence.SetVisibility{Everyone: rules.Everyone, Watchers: rules.Watchers}
		_, err := p.Publisher.Publish(ctx, u, actor, event)
		if err != nil && !errors.Is(err, presence.ErrDeactivated) {
			return err
		}
		now, err := p.Directory.Rules(ctx, u.Account, u.ID)
		if err != nil || now.Version == rules.Version {
			return err
		}
		rules = now
	}
	return store.ErrConflict
}
