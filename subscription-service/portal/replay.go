package portal

import (
	"net/http"
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// replay is one as the API shows it.
type replay struct{ contract.Replay }

// Running tells that it goes on.
func (r replay) Running() bool { return r.State == contract.ReplayRunning }

// Percent is how far it has come in the time that it goes through.
func (r replay) Percent() int {
	whole, part := r.Until.Sub(r.Since), r.Reached.Sub(r.Since)
	switch {
	case !r.Running():
		return 100
	case whole <= 0 || part <= 0:
		return 0
	}
	return int(100 * min(part, whole) / whole)
}

// replayForm asks for deliveries again.
type replayForm struct {
	form

	Subscription subscription
}

// Statuses are those that can be asked for again.
func (replayForm) Statuses() []contract.DeliveryStatus {
	return []contract.DeliveryStatus{contract.DeliveryFailed, contract.DeliveryCanceled, contract.DeliverySucceeded}
}

func init() {
	doneTexts["replaying"] = "The replay has begun. This page follows it."
}

// askReplay begins with what is most often wanted: what failed within a day.
func askReplay(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	values := url.Values{"since": {v.Now().UTC().Add(-24 * time.Hour).Format(formTime)}, "status": {string(contract.DeliveryFailed)}}
	return v.page("replay", "Send deliveries again", &replayForm{form{Values: values}, sub})
}

func beginReplay(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	f := &replayForm{form{Values: v.r.PostForm}, sub}
	body := map[string]any{"since": apiTime(f.Get("since"))}
	for name, value := range map[string]string{"until": apiTime(f.Get("until")), "status": f.Get("status")} {
		if value != "" {
			body[name] = value
		}
	}
	var begun replay
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiPath("replay"), body, &begun); err != nil {
		if err := f.refused(err); err != nil {
			return err
		}
		v.render(v.w, v.r, v, http.StatusUnprocessableEntity, "replay", "Send deliveries again", f)
		return nil
	}
	return v.goTo(sub.Path()+"/replay/"+url.PathEscape(begun.ID), "replaying")
}

// replayPage follows a replay.
type replayPage struct {
	Subscription subscription
	replay

	// Path is the page's own.
	Path string
}

// showReplay is the page, or for a script the part of it that changes.
func showReplay(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	data := replayPage{Subscription: sub, Path: v.pagePath() + "/replay/" + url.PathEscape(v.r.PathValue("replay"))}
	if err := v.api.get(v.r.Context(), v.apiPath("replay", v.r.PathValue("replay")), nil, &data.replay); err != nil {
		return err
	}
	if v.r.Header.Get("Hx-Request") != "" {
		return v.fragment("replaying", "progress", data)
	}
	return v.page("replaying", "A replay", data)
}
