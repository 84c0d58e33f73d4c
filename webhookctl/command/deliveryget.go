package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) deliveriesGet() *cobra.Command {
	var whole, curl bool
	cmd := &cobra.Command{
		Use: "get " + subscriptionUse + " DELIVERY", Short: "The timeline of a delivery, attempt by attempt", ValidArgsFunction: a.completeOwn(a.deliveryIDs()),
		Long: `The timeline of a delivery, attempt by attempt: when, what the endpoint answered, what went wrong, and where the time went. --full adds
the requests and answers; --curl prints a command that sends the last request again, without values that are secret.`,
		RunE: a.onGateway(func(cmd *cobra.Command, gateway *client.Client, sub own, rest []string) error {
			answer, err := gateway.Get(cmd.Context(), sub.path("deliveries", rest[0]), nil)
			if err != nil {
				return err
			}
			if curl {
				return a.showCurl(answer)
			}
			return a.showDelivery(answer, whole)
		}, "DELIVERY"),
	}
	cmd.Flags().BoolVar(&whole, "full", false, "with the requests and answers, as far as they are kept")
	cmd.Flags().BoolVar(&curl, "curl", false, "print a curl command that sends the last request again")
	return cmd
}

func (a *app) showDelivery(answer client.Answer, whole bool) error {
	return show(a, answer, func(d contract.Delivery) string { return string(d.Status) }, func(d contract.Delivery) {
		a.timeline(d, whole)
	})
}

func (a *app) showCurl(answer client.Answer) error {
	var d contract.Delivery
	if err := answer.Decode(&d); err != nil {
		return err
	}
	for i := len(d.Attempts) - 1; i >= 0; i-- {
		if r := d.Attempts[i].Request; r != nil {
			command, err := curlOf(*r)
			if err == nil {
				a.print.Say("%s", command)
			}
			return err
		}
	}
	return exit.With(exit.NotFound, fmt.Errorf("no request of the delivery %s is kept", d.ID))
}

// curlOf is a command that sends a request again.
func curlOf(r contract.AttemptRequest) (string, error) {
	if r.BodyCut {
		return "", exit.With(exit.NotFound, fmt.Errorf("only the beginning of the body is kept: it could not be sent again"))
	}
	lines := []string{"curl -sS -i -X " + shellQuoted(r.Method) + " " + shellQuoted(r.URL)}
	for _, h := range r.Headers {
		if !strings.EqualFold(h.Name, "content-length") && !strings.EqualFold(h.Name, "host") {
			lines = append(lines, "-H "+shellQuoted(h.Name+": "+h.Value))
		}
	}
	switch {
	case r.BodyBase64:
		return "printf %s " + shellQuoted(r.Body) + " | base64 -d | " + strings.Join(append(lines, "--data-binary @-"), " \\\n  "), nil
	case r.Body != "":
		lines = append(lines, "--data-binary "+shellQuoted(r.Body))
	}
	return strings.Join(lines, " \\\n  "), nil
}

// shellQuoted makes one word of a text. What would drive a terminal is taken out.
func shellQuoted(text string) string {
	return "'" + strings.ReplaceAll(output.Clean(text), "'", `'\''`) + "'"
}
