package api

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// PortalOptions say where the portal is.
type PortalOptions struct {
	// URL is the gateway's as the world sees it; empty: there are no links for consumers.
	URL string
	// AdminURL is the admin listener's as admins see it; empty: by the address at which it was called.
	AdminURL string
	// AdminsAtGateway opens the admins' pages at the gateway, and there alone.
	AdminsAtGateway bool
}

// portalLinks make links that sign somebody in to the portal, once.
type portalLinks struct {
	store *store.Store
	at    PortalOptions
	now   func() time.Time
}

const (
	pathConsumerPortalLinks = pathConsumers + "/{id}/portal-links"
	pathAdminPortalLinks    = "/admin/v1/portal-links"
	// PathSignIn is where a link leads, below the portal; its token follows.
	PathSignIn = contract.PathPortal + "/sign-in"
)

func (p portalLinks) register(api huma.API) {
	own := operation("create-portal-link", http.MethodPost, contract.PathPortalLinks, "Make a link that signs the caller in to the portal", http.StatusConflict)
	forConsumer := operation("create-consumer-portal-link", http.MethodPost, pathConsumerPortalLinks, "Make a link that signs a consumer in to the portal",
		http.StatusNotFound, http.StatusConflict)
	forAdmin := operation("create-admin-portal-link", http.MethodPost, pathAdminPortalLinks, "Make a link that signs the calling admin in to the portal", http.StatusConflict)
	for _, op := range []*huma.Operation{&own, &forConsumer, &forAdmin} {
		op.DefaultStatus = http.StatusCreated
		op.Description = "The link is good for one sign-in within five minutes. Whoever has it can use it: hand it on as you would a password."
	}
	register(api, own, p.own)
	register(api, forConsumer, p.forConsumer)
	register(api, forAdmin, p.forAdmin)
}

type portalLinkAnswer struct {
	Body struct {
		URL       string    `json:"url" doc:"good for one sign-in; shown this one time"`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

func (p portalLinks) own(ctx context.Context, _ *struct{}) (*portalLinkAnswer, error) {
	caller := callerOf(ctx)
	return p.consumer(ctx, caller.Consumer, caller)
}

func (p portalLinks) forConsumer(ctx context.Context, in *ConsumerID) (*portalLinkAnswer, error) {
	return p.consumer(ctx, in.ID, contract.Caller{})
}

// consumer makes a link for a consumer. It ends with the credential of who asked for it; an admin's is none of the consumer's.
func (p portalLinks) consumer(ctx context.Context, id string, asked contract.Caller) (*portalLinkAnswer, error) {
	if _, err := p.store.Consumer(ctx, id); err != nil {
		return nil, err
	}
	return p.mint(ctx, p.at.URL, contract.PortalUser{Actor: contract.Actor{Kind: contract.ActorConsumer, ID: id}, Door: contract.DoorGateway, Key: asked.Key, Until: asked.Until})
}

func (p portalLinks) forAdmin(ctx context.Context, _ *struct{}) (*portalLinkAnswer, error) {
	user := contract.PortalUser{Actor: contract.Actor{Kind: contract.ActorAdmin, ID: recordOf(ctx).admin}, Door: contract.DoorAdmin}
	if p.at.AdminsAtGateway {
		user.Door = contract.DoorGateway
		return p.mint(ctx, p.at.URL, user)
	}
	base := p.at.AdminURL
	if base == "" {
		base = listenerURL(ctx)
	}
	return p.mint(ctx, base, user)
}

// listenerURL is the address at which the caller reached the listener. The Host header is not believed: it would be whoever's link.
func listenerURL(ctx context.Context) string {
	if local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		return "http://" + local.String()
	}
	return ""
}

func (p portalLinks) mint(ctx context.Context, base string, user contract.PortalUser) (*portalLinkAnswer, error) {
	if base == "" {
		return nil, problem(contract.KindConflict, "it is not known where the portal is: set WEBHOOK_PUBLIC_URL to the gateway's address as the world sees it")
	}
	answer := &portalLinkAnswer{}
	answer.Body.ExpiresAt = moment(p.now().Add(contract.PortalLinkLife))
	user.Ends = answer.Body.ExpiresAt
	token, err := p.store.CreatePortalLink(ctx, user, contract.PortalLinkLife)
	if err != nil {
		return nil, err
	}
	answer.Body.URL = strings.TrimSuffix(base, "/") + PathSignIn + "/" + token
	return answer, nil
}
