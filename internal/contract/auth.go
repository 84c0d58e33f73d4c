package contract

// The types of Auth.
const (
	AuthBearer  = "bearer"
	AuthBasic   = "basic"
	AuthHeaders = "headers"
	AuthOAuth2  = "oauth2"
	AuthMTLS    = "mtls"
)

// Auth is the credential that the consumer wants to see on its callbacks. Write-only: of what is secret here no API answer
// carries anything.
type Auth struct {
	Type     string `json:"type"`
	Token    string `json:"token,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"` // #nosec G117 -- stored for the callback service; the API has its own shape
	// Headers are set on every callback, and their values are secret.
	Headers map[string]string `json:"headers,omitempty"`
	OAuth2  *OAuth2           `json:"oauth2,omitempty"`
	// Certificate goes with every type; with AuthMTLS it is all there is.
	Certificate *ClientCertificate `json:"certificate,omitempty"`
}

// OAuth2 gets an access token by client credentials (RFC 6749, section 4.4).
type OAuth2 struct {
	TokenURL     string `json:"token_url"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"` // #nosec G117 -- as Auth.Password
	Scope        string `json:"scope,omitempty"`
	Audience     string `json:"audience,omitempty"`
	// InBody sends the client's credentials in the body and not by basic authentication (section 2.3.1).
	InBody bool `json:"in_body,omitempty"`
}

// ClientCertificate is shown to an endpoint that asks for one in the TLS handshake.
type ClientCertificate struct {
	// ID names the chain, see package credential. It is public.
	ID string `json:"id"`
	// Chain and Key are PEM.
	Chain string `json:"chain"`
	Key   string `json:"key"`
}

// CertificateID is that of the client certificate, "" if there is none.
func (a *Auth) CertificateID() string {
	if a == nil || a.Certificate == nil {
		return ""
	}
	return a.Certificate.ID
}
