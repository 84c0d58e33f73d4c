package portal

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// Where reads the administrator's WEBHOOK_PORTAL_ADMIN_URL and WEBHOOK_PORTAL_ADMIN; publicURL is the gateway's, or empty. The error
// names each variable that can't be used and never repeats a value.
func Where(publicURL, adminURL, admins string) (api.PortalOptions, error) {
	at := api.PortalOptions{URL: publicURL, AdminURL: strings.TrimSuffix(adminURL, "/"), AdminsAtGateway: admins == "gateway"}
	var errs []error
	if adminURL != "" && !isAddress(adminURL) {
		errs = append(errs, errors.New("WEBHOOK_PORTAL_ADMIN_URL: write it as https://host, with a path where the listener is below one"))
	}
	if admins != "listener" && admins != "gateway" {
		errs = append(errs, errors.New("WEBHOOK_PORTAL_ADMIN: use listener, for the admins' own, or gateway"))
	}
	return at, errors.Join(errs...)
}

func isAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// CheckAncestors refuses a value of WEBHOOK_PORTAL_FRAME_ANCESTORS that is no list of origins: a wildcard for all, a keyword, or what
// would end the policy and begin another.
func CheckAncestors(origins []string) error {
	for i, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || !isAddress(origin) || u.Path != "" || strings.ContainsAny(origin, "*; ,\t\r\n'\"") {
			return fmt.Errorf("WEBHOOK_PORTAL_FRAME_ANCESTORS: number %d is no origin: write it as https://host, or https://host:port", i+1)
		}
	}
	return nil
}
