package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// consumers are the admins' calls on who may call the API.
type consumers struct {
	store *store.Store
	now   func() time.Time
	meter *meter
}

const (
	pathConsumers = "/admin/v1/consumers"
	pathConsumer  = pathConsumers + "/{id}"
	pathKeys      = pathConsumer + "/keys"
)

func (s consumers) register(api huma.API) {
	const absent = http.StatusNotFound
	create := operation("create-consumer", http.MethodPost, pathConsumers, "Create a consumer", http.StatusBadRequest,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	create.DefaultStatus = http.StatusCreated
	register(api, create, s.create)
	register(api, operation("list-consumers", http.MethodGet, pathConsumers, "List all consumers"), s.list)
	register(api, operation("get-consumer", http.MethodGet, pathConsumer, "Get one consumer", absent), s.get)
	register(api, operation("change-consumer", http.MethodPatch, pathConsumer, "Change a consumer", http.StatusBadRequest, absent,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType), s.change)
	register(api, operation("delete-consumer", http.MethodDelete, pathConsumer, "Delete a consumer, its keys and its subscriptions", absent), s.remove)

	key := operation("create-key", http.MethodPost, pathKeys, "Create an API key; it is shown this one time", absent, http.StatusConflict)
	key.DefaultStatus = http.StatusCreated
	register(api, key, s.createKey)
	register(api, operation("list-keys", http.MethodGet, pathKeys, "List a consumer's keys, without the keys themselves", absent), s.listKeys)
	register(api, operation("revoke-key", http.MethodDelete, pathKeys+"/{key_id}", "Revoke a key everywhere within 5 s", absent), s.removeKey)
}

// grantBody allows actions on a resource, which need not exist yet.
type grantBody struct {
	Resource string   `json:"resource" minLength:"1"`
	Actions  []string `json:"actions" minItems:"1" maxItems:"2" uniqueItems:"true" nullable:"false" enum:"subscribe,publish"`
}

// consumerBody describes a consumer.
type consumerBody struct {
	Name   string      `json:"name" minLength:"1" maxLength:"100"`
	Grants []grantBody `json:"grants,omitempty" maxItems:"200" doc:"none: nothing is allowed"`
	Limits limitsBody  `json:"limits,omitzero"`
}

// limitsBody bounds what a consumer uses.
type limitsBody struct {
	RequestsPerSecond whole `json:"requests_per_second,omitempty" minimum:"1" maximum:"1000000" doc:"calls that do not publish. None: the service's limit"`
	EventsPerSecond   whole `json:"events_per_second,omitempty" minimum:"1" maximum:"1000000" doc:"events published over HTTP. None: the service's limit"`
	MaxSubscriptions  whole `json:"max_subscriptions,omitempty" minimum:"1" maximum:"1000000" doc:"subscriptions to all resources, paused ones too. None: the service's limit"`
}

func (l limitsBody) limits() contract.Limits {
	return contract.Limits{RequestsPerSecond: int(l.RequestsPerSecond), EventsPerSecond: int(l.EventsPerSecond), MaxSubscriptions: int(l.MaxSubscriptions)}
}

func viewOfLimits(l contract.Limits) limitsBody {
	return limitsBody{whole(l.RequestsPerSecond), whole(l.EventsPerSecond), whole(l.MaxSubscriptions)}
}

// consumerPatch changes a consumer: absent fields stay.
type consumerPatch struct {
	Name   *string               `json:"name,omitempty" minLength:"1" maxLength:"100"`
	Grants optional[[]grantBody] `json:"grants,omitzero" maxItems:"200" doc:"replaces all; null: none"`
	Limits optional[limitsBody]  `json:"limits,omitzero" doc:"replaces all; null: the service's limits"`
}

// consumerView is a consumer as it is shown.
type consumerView struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Grants []grantBody `json:"grants" nullable:"false"`
	Limits limitsBody  `json:"limits,omitzero"`
}

// Resolve checks what the schema can't say.
func (b *consumerBody) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	return append(nameFaults(at, b.Name), grantFaults(at, b.Grants)...)
}

// Resolve checks what the schema can't say.
func (p *consumerPatch) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	var errs []error
	if p.Name != nil {
		errs = nameFaults(at, *p.Name)
	}
	if p.Grants.Value != nil {
		errs = append(errs, grantFaults(at, *p.Grants.Value)...)
	}
	return errs
}

func nameFaults(at, name string) []error {
	if name != "" && strings.TrimSpace(name) == "" {
		return []error{fault(at+"name", "is blank")}
	}
	return nil
}

func grantFaults(at string, grants []grantBody) []error {
	var errs []error
	for i, grant := range grants {
		if grant.Resource == "" {
			continue // the schema names it
		}
		if err := contract.ValidateResource(grant.Resource); err != nil {
			errs = append(errs, fault(fmt.Sprintf("%sgrants[%d].resource", at, i), err.Error()))
		}
	}
	return errs
}

func grantsOf(bodies []grantBody) []contract.Grant {
	grants := make([]contract.Grant, len(bodies))
	for i, b := range bodies {
		grants[i] = contract.Grant(b)
	}
	return grants
}

func viewOfConsumer(c contract.Consumer) consumerView {
	view := consumerView{c.ID, c.Name, make([]grantBody, len(c.Grants)), viewOfLimits(c.Limits)}
	for i, g := range c.Grants {
		view.Grants[i] = grantBody(g)
	}
	return view
}

// ConsumerID is the path of one consumer.
type ConsumerID struct {
	ID string `path:"id" maxLength:"100"`
}

type createConsumerRequest struct{ Body consumerBody }

type createConsumerAnswer struct {
	Location string `header:"Location"`
	Body     consumerView
}

type consumerAnswer struct{ Body consumerView }

func (s consumers) create(ctx context.Context, in *createConsumerRequest) (*createConsumerAnswer, error) {
	consumer := contract.Consumer{ID: contract.NewID("con"), Name: in.Body.Name, Grants: grantsOf(in.Body.Grants), Limits: in.Body.Limits.limits()}
	if err := s.store.PutConsumer(ctx, consumer); err != nil {
		return nil, err
	}
	return &createConsumerAnswer{pathConsumers + "/" + consumer.ID, viewOfConsumer(consumer)}, nil
}

func (s consumers) list(ctx context.Context, _ *struct{}) (*listAnswer[consumerView], error) {
	all, err := s.store.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]consumerView, len(all))
	for i, c := range all {
		views[i] = viewOfConsumer(c)
	}
	return &listAnswer[consumerView]{listBody[consumerView]{Items: views}}, nil
}

func (s consumers) get(ctx context.Context, in *ConsumerID) (*consumerAnswer, error) {
	consumer, err := s.store.Consumer(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &consumerAnswer{viewOfConsumer(consumer)}, nil
}

type changeConsumerRequest struct {
	ConsumerID
	Body consumerPatch
}

func (s consumers) change(ctx context.Context, in *changeConsumerRequest) (*consumerAnswer, error) {
	consumer, err := s.store.ChangeConsumer(ctx, in.ID, func(c *contract.Consumer) {
		if in.Body.Name != nil {
			c.Name = *in.Body.Name
		}
		if grants := in.Body.Grants; grants.Sent {
			var bodies []grantBody
			grants.apply(&bodies)
			c.Grants = grantsOf(bodies)
		}
		if limits := in.Body.Limits; limits.Sent {
			var body limitsBody
			limits.apply(&body)
			c.Limits = body.limits()
		}
	})
	if err != nil {
		return nil, err
	}
	s.meter.forget(in.ID)
	return &consumerAnswer{viewOfConsumer(consumer)}, nil
}

func (s consumers) remove(ctx context.Context, in *ConsumerID) (*struct{}, error) {
	return nil, s.store.DeleteConsumer(ctx, in.ID)
}

// keyView is an API key without the key.
type keyView struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

// newKeyView has the key, this one time.
type newKeyView struct {
	ID        string    `json:"id"`
	Key       string    `json:"key"`
	CreatedAt time.Time `json:"created_at"`
}

type createKeyAnswer struct{ Body newKeyView }

func (s consumers) createKey(ctx context.Context, in *ConsumerID) (*createKeyAnswer, error) {
	key, plain, err := s.store.CreateKey(ctx, in.ID, s.now().Truncate(time.Millisecond))
	if err != nil {
		return nil, err
	}
	entryOf(ctx).Object += "/" + key.ID
	return &createKeyAnswer{newKeyView{key.ID, plain, key.CreatedAt}}, nil
}

func (s consumers) listKeys(ctx context.Context, in *ConsumerID) (*listAnswer[keyView], error) {
	keys, err := s.store.Keys(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	views := make([]keyView, len(keys))
	for i, key := range keys {
		views[i] = keyView(key)
	}
	return &listAnswer[keyView]{listBody[keyView]{Items: views}}, nil
}

type keyRequest struct {
	ConsumerID
	KeyID string `path:"key_id" maxLength:"100"`
}

func (s consumers) removeKey(ctx context.Context, in *keyRequest) (*struct{}, error) {
	return nil, s.store.DeleteKey(ctx, in.ID, in.KeyID)
}
