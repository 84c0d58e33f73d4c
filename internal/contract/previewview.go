package contract

// PreviewView is what would become of an event.
type PreviewView struct {
	Wanted  bool         `json:"wanted" doc:"whether the subscription gets such an event: it is active, and types and filter match"`
	Types   MatchView    `json:"types"`
	Filter  MatchView    `json:"filter"`
	Request *RequestView `json:"request,omitempty" doc:"the callback, whether or not the event is wanted"`
	Reason  string       `json:"reason,omitempty" doc:"why there would be no callback"`
	Secret  string       `json:"secret,omitempty" doc:"verifies the signature of a subscription that does not exist; it signs nothing else"`
}

// MatchView is an answer with its reason.
type MatchView struct {
	Matches bool   `json:"matches"`
	Reason  string `json:"reason"`
}

// RequestView is a request without its credential.
type RequestView struct {
	Method     string            `json:"method"`
	URL        string            `json:"url"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body,omitempty"`
	BodyBase64 string            `json:"body_base64,omitempty" doc:"instead of body where that is no UTF-8"`
}
