package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/credential"
)

// authBody is a credential for callbacks.
type authBody struct {
	Type         string            `json:"type" enum:"bearer,basic,headers,oauth2,mtls" doc:"mtls: the client certificate is all there is; it may come with every other type, too"`
	Token        string            `json:"token,omitempty" writeOnly:"true" maxLength:"4096" doc:"for bearer"`
	Username     string            `json:"username,omitempty" writeOnly:"true" maxLength:"255" doc:"for basic"`
	Password     string            `json:"password,omitempty" writeOnly:"true" maxLength:"1024" doc:"for basic"` // #nosec G117 -- only ever read
	Headers      map[string]string `json:"headers,omitempty" writeOnly:"true" maxProperties:"20" doc:"for headers: as those of the subscription, but secret; Authorization may be one"`
	TokenURL     string            `json:"token_url,omitempty" maxLength:"2048" doc:"for oauth2: where client credentials get an access token (RFC 6749, section 4.4); as callback_url, a public address"`
	ClientID     string            `json:"client_id,omitempty" maxLength:"255" doc:"for oauth2"`
	ClientSecret string            `json:"client_secret,omitempty" writeOnly:"true" maxLength:"1024" doc:"for oauth2"` // #nosec G117 -- only ever read
	Scope        string            `json:"scope,omitempty" writeOnly:"true" maxLength:"1024" doc:"for oauth2: scopes, separated by spaces"`
	Audience     string            `json:"audience,omitempty" writeOnly:"true" maxLength:"1024" doc:"for oauth2: sent as audience, where the token endpoint wants one"`
	AuthStyle    string            `json:"auth_style,omitempty" writeOnly:"true" enum:"basic,body" doc:"for oauth2: how the token endpoint wants the client's credentials; basic unless set"`
	Certificate  string            `json:"certificate,omitempty" writeOnly:"true" maxLength:"16384" doc:"PEM: the client certificate, and those between it and the root"`
	Key          string            `json:"key,omitempty" writeOnly:"true" maxLength:"16384" doc:"PEM: the certificate's private key, without a passphrase"`

	checked *contract.ClientCertificate // see faults
}

// authFields are what each type must and may have, besides a certificate and its key.
var authFields = map[string]struct{ must, may []string }{
	contract.AuthBearer:  {must: []string{"token"}},
	contract.AuthBasic:   {must: []string{"username"}, may: []string{"password"}},
	contract.AuthHeaders: {must: []string{"headers"}},
	contract.AuthOAuth2:  {must: []string{"token_url", "client_id", "client_secret"}, may: []string{"scope", "audience", "auth_style"}},
	contract.AuthMTLS:    {must: []string{"certificate", "key"}},
}

// sent returns the fields that have a value.
func (a *authBody) sent() []string {
	var names []string
	for _, field := range []struct {
		name string
		sent bool
	}{
		{"token", a.Token != ""}, {"username", a.Username != ""}, {"password", a.Password != ""}, {"headers", len(a.Headers) > 0},
		{"token_url", a.TokenURL != ""}, {"client_id", a.ClientID != ""}, {"client_secret", a.ClientSecret != ""}, {"scope", a.Scope != ""},
		{"audience", a.Audience != ""}, {"auth_style", a.AuthStyle != ""}, {"certificate", a.Certificate != ""}, {"key", a.Key != ""},
	} {
		if field.sent {
			names = append(names, field.name)
		}
	}
	return names
}

func (a *authBody) auth() *contract.Auth {
	if a == nil {
		return nil
	}
	auth := &contract.Auth{Type: a.Type, Token: a.Token, Username: a.Username, Password: a.Password, Headers: a.Headers, Certificate: a.checked}
	if a.Type == contract.AuthOAuth2 {
		auth.OAuth2 = &contract.OAuth2{
			TokenURL: a.TokenURL, ClientID: a.ClientID, ClientSecret: a.ClientSecret, Scope: a.Scope, Audience: a.Audience, InBody: a.AuthStyle == "body",
		}
	}
	return auth
}

// faults checks what the schema can't say, and reads the certificate.
func (a *authBody) faults(ctx context.Context, at string) []error {
	if a == nil {
		return nil
	}
	fields, known := authFields[a.Type]
	if !known {
		return nil // the schema says so
	}
	at += "auth."
	sent := a.sent()
	errs := a.missing(at, fields.must, sent)
	for _, name := range sent {
		if !slices.Contains(slices.Concat(fields.must, fields.may, []string{"certificate", "key"}), name) {
			errs = append(errs, fault(at+"type", fmt.Sprintf("is %s, which has no %s: it has %s", a.Type, name, strings.Join(slices.Concat(fields.must, fields.may), ", "))))
		}
	}
	return slices.Concat(errs, a.headerValues(at), a.oauth2Faults(ctx, at), a.certificateFaults(ctx, at))
}

func (a *authBody) missing(at string, must, sent []string) []error {
	if a.Certificate+a.Key != "" {
		must = slices.Concat(must, []string{"certificate", "key"}) // one is of no use without the other
	}
	var errs []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(must))) {
		if !slices.Contains(sent, name) {
			errs = append(errs, fault(at+name, "is required for "+a.Type))
		}
	}
	return errs
}

// headerValues checks what goes into headers as it is.
func (a *authBody) headerValues(at string) []error {
	var errs []error
	if !httpguts.ValidHeaderFieldValue(a.Token) {
		errs = append(errs, fault(at+"token", "has a control character: it must fit into a header"))
	}
	if strings.Contains(a.Username, ":") {
		errs = append(errs, fault(at+"username", "has a colon, which basic authentication can't carry"))
	}
	return append(errs, headerFaults(at, a.Headers, secretHeaderFault)...)
}

func (a *authBody) oauth2Faults(ctx context.Context, at string) []error {
	var errs []error
	if a.TokenURL != "" {
		errs = callbackFaults(ctx, at+"token_url", a.TokenURL)
	}
	if strings.ContainsFunc(a.Scope, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		errs = append(errs, fault(at+"scope", "has a character that a scope can't have: write scopes in ASCII, separated by spaces"))
	}
	return errs
}

func (a *authBody) certificateFaults(ctx context.Context, at string) []error {
	if a.Certificate == "" || a.Key == "" {
		return nil
	}
	checked, err := credential.Check(a.Certificate, a.Key, nowOf(ctx))
	var wrong *credential.Fault
	if errors.As(err, &wrong) {
		field := "certificate"
		if wrong.Key {
			field = "key"
		}
		return []error{fault(at+field, wrong.Message)}
	}
	a.checked = checked
	return nil
}

// certificateNeedsTLS refuses a client certificate where there is no handshake to show it in.
func certificateNeedsTLS(sub contract.Subscription) []error {
	if sub.Auth.CertificateID() == "" {
		return nil
	}
	var errs []error
	if !isHTTPS(sub.CallbackURL) {
		errs = append(errs, fault("body.auth.certificate", "is shown in a TLS handshake only: use https for callback_url"))
	}
	if sub.Auth.OAuth2 != nil && !isHTTPS(sub.Auth.OAuth2.TokenURL) {
		errs = append(errs, fault("body.auth.token_url", "uses http, where no certificate can be shown: use https"))
	}
	return errs
}

func isHTTPS(url string) bool {
	scheme, _, _ := strings.Cut(url, ":")
	return strings.EqualFold(scheme, "https")
}

func authViewOf(auth *contract.Auth) *contract.AuthView {
	if auth == nil {
		return nil
	}
	view := &contract.AuthView{Type: auth.Type}
	if auth.OAuth2 != nil {
		view.TokenURL, view.ClientID = auth.OAuth2.TokenURL, auth.OAuth2.ClientID
	}
	if auth.Certificate != nil {
		if leaf, err := credential.Leaf(auth.Certificate); err == nil { // one that is damaged has nothing to show
			view.Certificate = &contract.CertificateView{
				Subject: cmp.Or(leaf.Subject.String(), "(none)"), NotAfter: leaf.NotAfter.UTC(), Fingerprint: credential.Fingerprint(leaf),
			}
		}
	}
	return view
}
