package portal

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// explainPage answers why an event did, or did not, arrive.
type explainPage struct {
	Subscription  subscription
	Event, Source string
	Problem       *problem
	Answer        *explanation
}

// explanation is the API's answer.
type explanation struct {
	Source     string    `json:"source"`
	ID         string    `json:"id"`
	ReceivedAt time.Time `json:"received_at"`
	Type       string    `json:"type"`
	DeadLetter string    `json:"dead_letter"`
	Matched    bool      `json:"matched"`
	Reason     string    `json:"reason"`
	Detail     string    `json:"detail"`
	Values     []struct {
		Expression string `json:"expression"`
		JSON       string `json:"value"`
	} `json:"values"`
	Delivery *contract.Delivery `json:"delivery"`
}

// reasons say in words what the API's vocabulary means.
var reasons = map[string]string{
	"matched": "There is a delivery of it.", "subscribed": "You subscribed after it.", "policy": "The event itself was refused.",
	"type": "Its type is none of those that you asked for.", "filter": "Your filter keeps it back.", "status": "The subscription gets no callbacks at the moment.",
	"unknown": "Nothing that is known now speaks against it.", "not_archived": "The event can't be looked at any more.",
}

// Words say why.
func (e explanation) Words() string { return reasons[e.Reason] }

func explain(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	asked := v.r.URL.Query()
	data := explainPage{Subscription: sub, Event: asked.Get("event"), Source: asked.Get("source")}
	if data.Event == "" {
		return v.page("explain", "Why did an event not arrive?", data)
	}
	query := url.Values{"event": {data.Event}}
	if data.Source != "" {
		query.Set("source", data.Source)
	}
	err = v.api.get(v.r.Context(), v.apiPath("explain"), query, &data.Answer)
	var p *problem
	if errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusUnprocessableEntity || p.Status == http.StatusServiceUnavailable) {
		data.Answer, data.Problem, err = nil, p, nil
	}
	if err != nil {
		return err
	}
	return v.page("explain", "Why did an event not arrive?", data)
}
