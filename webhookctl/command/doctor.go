package command

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/doctor"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

// doctorTime bounds a call of the doctor's, unless --timeout says otherwise: whoever asks what is wrong does not want to wait.
const doctorTime = 5 * time.Second

func (a *app) doctorCommand() *cobra.Command {
	var files []string
	var namespace string
	var repair, all bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check every connection and setting, and say what to fix", Args: cobra.NoArgs,
		Long: `Check every connection and setting, and say what to fix: the gateway and each of its routes, the admin API and token, each service's
readiness, Redis, RabbitMQ with every exchange and queue, clocks, and the environment's variables. What is not known, for want of
its address, is skipped. Nothing is changed, save a probe in Redis and what --repair declares. The exit code is 1 if there is a fault.`,
		Example: "  webhookctl doctor\n  webhookctl doctor --env-file /etc/apisix-webhooks/subscription-service.env -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("timeout") {
				a.flags.timeout = doctorTime
			}
			patient, err := a.patient(files)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			patient.Namespace, patient.Repair = namespace, repair
			return a.examine(cmd.Context(), patient, all)
		},
	}
	cmd.Flags().StringSliceVar(&files, "env-file", nil, "a service's file of variables to look at, beside the environment (repeatable)")
	cmd.Flags().BoolVar(&repair, "repair", false, "declare the exchanges, queues and bindings that RabbitMQ lacks")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show what is fine and what was skipped, too")
	cmd.Flags().StringVar(&namespace, "namespace", "", "the prefix of names in Redis and on the broker; webhook unless set")
	_ = cmd.Flags().MarkHidden("namespace") // it is there; services have no setting for it
	return cmd
}

// patient is what is known of the installation.
func (a *app) patient(files []string) (doctor.Patient, error) {
	environment := a.environment()
	for _, file := range files {
		more, err := settings.ReadEnvFile(a.path(file))
		if err != nil {
			return doctor.Patient{}, err
		}
		maps.Copy(environment, more)
	}
	get := a.settings.Get
	p := doctor.Patient{
		GatewayURL: get(settings.GatewayURL), AdminURL: get(settings.AdminURL), AdminToken: get(settings.AdminToken), AMQPURL: get(settings.AMQPURL),
		RedisURL: get(settings.RedisURL), ManagementURL: get(settings.ManagementURL), Environment: environment, Timeout: a.flags.timeout, Now: a.Now, Credential: a.credential(),
		Services: []doctor.Service{
			{Name: "subscription-service", URL: get(settings.SubscriptionMetrics), Variable: string(settings.SubscriptionMetrics)},
			{Name: "runner", URL: get(settings.RunnerMetrics), Variable: string(settings.RunnerMetrics)},
			{Name: "event-listener", URL: get(settings.ListenerMetrics), Variable: string(settings.ListenerMetrics)},
			{Name: "callback-service", URL: get(settings.CallbackMetrics), Variable: string(settings.CallbackMetrics)},
		},
	}
	var err error
	if p.AMQP, err = tlsconf.NewClient(tlsconf.AMQP(p.AMQPURL), a.files("WEBHOOK_AMQP_"), a.logger()); err != nil {
		return p, err
	}
	p.Redis, err = tlsconf.NewClient(tlsconf.Redis(p.RedisURL), a.files("WEBHOOK_REDIS_"), a.logger())
	return p, err
}

// credential is the consumer's, as a header; nil where there is none.
func (a *app) credential() http.Header {
	switch {
	case a.settings.Has(settings.Token):
		return http.Header{"Authorization": {"Bearer " + a.settings.Get(settings.Token)}}
	case a.settings.Has(settings.APIKey):
		return http.Header{"Apikey": {a.settings.Get(settings.APIKey)}}
	}
	return nil
}

func (a *app) examine(ctx context.Context, p doctor.Patient, all bool) error {
	checks := doctor.Examine(ctx, p)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	worst := doctor.Worst(checks)
	if !a.print.Human() {
		if err := a.print.Value(map[string]any{"state": worst, "checks": checks}); err != nil {
			return err
		}
	} else {
		a.tellChecks(checks, all)
	}
	if worst == doctor.Fault {
		return exit.With(exit.Failed, errSilent)
	}
	return nil
}

// tellChecks says what is wrong and how to mend it; what is fine is counted by area.
func (a *app) tellChecks(checks []doctor.Check, all bool) {
	count := map[doctor.State]int{}
	area := ""
	for _, c := range checks {
		count[c.State]++
		if !all && (c.State == doctor.Fine || c.State == doctor.Skipped) {
			continue
		}
		if c.Area != area {
			area = c.Area
			a.print.Say("%s", area)
		}
		a.tellCheck(c)
	}
	a.print.Say("%d fine, %d warnings, %d faults, %d skipped", count[doctor.Fine], count[doctor.Warning], count[doctor.Fault], count[doctor.Skipped])
	if !all && count[doctor.Skipped] > 0 {
		a.print.Say("%s", a.print.Faint("--all shows all checks, and what the skipped ones need"))
	}
}

func (a *app) tellCheck(c doctor.Check) {
	mark := map[doctor.State]string{doctor.Fine: a.print.Good("✓"), doctor.Warning: a.print.Warn("!"), doctor.Fault: a.print.Bad("✗"), doctor.Skipped: a.print.Faint("-")}[c.State]
	text := c.Name
	if c.Detail != "" {
		text += ": " + output.OneLine(c.Detail, 300)
	}
	a.print.Say("  %s %s", mark, text)
	if c.Fix != "" {
		a.print.Say("      → %s", output.OneLine(c.Fix, 300))
	}
}
