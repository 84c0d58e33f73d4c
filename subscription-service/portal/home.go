package portal

import (
	"slices"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// home is the first page: of the only resource, of those that a consumer may subscribe to, or the admins'.
func home(v *visit) error {
	if v.user.Actor.Kind == contract.ActorAdmin {
		return v.goTo("/portal/admin/", "")
	}
	resources := v.resources()
	if len(resources) == 1 {
		return v.goTo("/portal/resources/"+resources[0]+"/", "")
	}
	return v.page("home", "Resources", resources)
}

// resources are those that a consumer may subscribe to.
func (v *visit) resources() []string {
	var names []string
	for _, grant := range v.consumer.Grants {
		if slices.Contains(grant.Actions, contract.ActionSubscribe) {
			names = append(names, grant.Resource)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
