package portal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// mostLine bounds one line of the API's events, in bytes: an attempt's bodies are excerpts.
const mostLine = 1 << 20

// headerLast is what a browser sends when it comes back: the id of the last event that it got.
const headerLast = "Last-Event-ID"

// errEnded means that a stream is over for its own reasons.
var errEnded = errors.New("the session is over")

// live turns the API's live deliveries into rows of the list, as they come.
func live(v *visit) error {
	resp, err := v.api.open(v.r.Context(), http.MethodGet, v.apiPath("deliveries", "live"), nil, headerLast, v.r.Header.Get(headerLast))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	out := api.OpenEvents(v.w, v.r)
	err = readEvents(resp.Body, func(e liveEvent) error {
		if e.Name == "" { // a comment: the API's way to say that it is there still
			return v.beat(out)
		}
		return v.pass(out, e)
	})
	if err != nil && !errors.Is(err, errEnded) && v.r.Context().Err() == nil {
		v.Log.Warn("a page's live deliveries broke off", zap.String("request", api.IDOf(v.r.Context())), zap.Error(err))
	}
	return nil // the answer has begun
}

// beat goes on unless the session is over, as after signing out.
func (v *visit) beat(out api.Events) error {
	holds, err := v.Store.PortalSessionHolds(v.r.Context(), v.token)
	if err == nil && !holds {
		err = errEnded
	}
	out.Beat()
	return err
}

// pass writes an attempt as a row of the list.
func (v *visit) pass(out api.Events, e liveEvent) error {
	var made struct {
		Delivery contract.Delivery `json:"delivery"`
		Attempt  *contract.Attempt `json:"attempt"`
	}
	if e.Name != "attempt" {
		return nil
	}
	if err := json.Unmarshal(e.Data, &made); err != nil {
		return fmt.Errorf("reading a live delivery: %w", err)
	}
	var row bytes.Buffer
	if err := v.pages["deliveries"].ExecuteTemplate(&row, "delivery-row", v.row(made.Delivery, made.Attempt)); err != nil {
		return fmt.Errorf("showing a live delivery: %w", err)
	}
	return out.Send(e.ID, e.Name, row.Bytes())
}

// liveEvent is one of the API's events.
type liveEvent struct {
	ID, Name string
	Data     []byte
}

// readEvents calls each for every event, and without a name for every comment, until the stream ends.
func readEvents(from io.Reader, each func(liveEvent) error) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, mostLine)
	e, data := liveEvent{}, []string(nil)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		var err error
		switch {
		case lines.Text() == "" && data != nil:
			e.Data = []byte(strings.Join(data, "\n"))
			err = each(e)
			e, data = liveEvent{}, nil
		case lines.Text() == "":
		case field == "":
			err = each(liveEvent{})
		case field == "event":
			e.Name = value
		case field == "id":
			e.ID = value
		case field == "data":
			data = append(data, value)
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}
