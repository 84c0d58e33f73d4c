package contract

import "time"

// SubscriptionView is a subscription as its consumer sees it.
type SubscriptionView struct {
	ID            string            `json:"id"`
	Resource      string            `json:"resource"`
	Status        Status            `json:"status" enum:"pending,active,paused,disabled"`
	StatusReason  string            `json:"status_reason,omitempty" doc:"why the service itself changed the status"`
	Verification  *VerificationView `json:"verification,omitempty" doc:"how far it is proven that callback_url wants callbacks, where the resource asks for it"`
	Mode          Mode              `json:"mode,omitempty" enum:"pull" doc:"pull: deliveries wait to be collected; left out: they are called back"`
	CallbackURL   string            `json:"callback_url,omitempty" doc:"left out where mode is pull"`
	Types         []string          `json:"types,omitempty"`
	Filter        string            `json:"filter,omitempty"`
	Transform     string            `json:"transform,omitempty"`
	Format        Format            `json:"format" enum:"cloudevents-structured,cloudevents-binary,data"`
	Headers       map[string]string `json:"headers,omitempty"`
	Auth          *AuthView         `json:"auth,omitempty"`
	RateLimit     float64           `json:"rate_limit,omitempty"`
	MaxInFlight   int               `json:"max_in_flight,omitempty" doc:"left out where mode is pull"`
	Ordering      Ordering          `json:"ordering" enum:"none,subject"`
	RetrySchedule []Duration        `json:"retry_schedule,omitzero" doc:"left out: the resource's, or the service's"`
	Timeouts      Timeouts          `json:"timeouts,omitzero" doc:"what is left out: the resource's, or the service's"`
	Description   string            `json:"description,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
	Signatures    []Signature       `json:"signatures" enum:"v1,v1a" minItems:"1" maxItems:"2" uniqueItems:"true" nullable:"false"`
	PublicKeys    []string          `json:"public_keys,omitempty" doc:"check signatures of v1a (Standard Webhooks), newest first; also at /.well-known/webhook-keys?subscription="`
	Secret        string            `json:"secret,omitempty" doc:"signs callbacks (Standard Webhooks, v1); shown on create and rotate only"`
}

// VerificationView is how far it is proven that a callback URL wants callbacks.
type VerificationView struct {
	Method      Verification `json:"method" enum:"handshake,challenge,any" doc:"how it was given; before that, how it is asked for"`
	State       ConsentState `json:"state" enum:"pending,verified,failed"`
	Attempts    int          `json:"attempts" doc:"how often the endpoint was asked"`
	LastError   string       `json:"last_error,omitempty" doc:"why the last attempt brought no consent"`
	NextAttempt time.Time    `json:"next_attempt_at,omitzero"`
	VerifiedAt  time.Time    `json:"verified_at,omitzero"`
	AllowedRate int          `json:"allowed_rate,omitempty" doc:"callbacks per minute that the endpoint takes; left out: no bound"`
}

// AuthView tells that there is a credential, and what of it is public.
type AuthView struct {
	Type        string           `json:"type" enum:"bearer,basic,headers,oauth2,mtls"`
	TokenURL    string           `json:"token_url,omitempty"`
	ClientID    string           `json:"client_id,omitempty"`
	Certificate *CertificateView `json:"certificate,omitempty" doc:"the client certificate that callbacks show"`
}

// CertificateView is what a client certificate tells of itself.
type CertificateView struct {
	Subject     string    `json:"subject"`
	NotAfter    time.Time `json:"not_after" doc:"callbacks go on after it, and the endpoint will refuse them"`
	Fingerprint string    `json:"fingerprint" doc:"SHA-256, in hex"`
}
