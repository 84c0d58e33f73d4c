package command

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) auditCommand() *cobra.Command {
	var actor, action, object, since, until string
	var limit int
	cmd := &cobra.Command{
		Use: "audit", Short: "Who changed what, when and from where, newest first", Args: cobra.NoArgs,
		Example: "  webhookctl audit --object orders --since 2h\n  webhookctl audit --actor unknown --limit 0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"actor": actor, "action": action, "object": object} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if err := a.moments(query.Set, map[string]string{"since": since, "until": until}); err != nil {
				return err
			}
			return a.showAudit(cmd, query, limit)
		},
	}
	cmd.Flags().StringVar(&actor, "actor", "", "admin, consumer, service or unknown; or an actor's id")
	cmd.Flags().StringVar(&action, "action", "", "an operation, as put-resource")
	cmd.Flags().StringVar(&object, "object", "", "a path, or a segment of one, such as a resource or an id")
	timeFlags(cmd, &since, &until)
	limitFlag(cmd, &limit)
	return cmd
}

func (a *app) showAudit(cmd *cobra.Command, query url.Values, limit int) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	list, err := admin.All(cmd.Context(), "/admin/v1/audit", query, limit)
	if err != nil {
		return err
	}
	return showItems(a, list, []string{"when", "who", "from", "action", "object", "status", "fields"}, func(e contract.AuditEntry) []string {
		status := ""
		if e.Status != 0 {
			status = a.print.HTTPStatus(e.Status)
		}
		return []string{
			output.Time(e.At), strings.TrimSpace(string(e.Actor.Kind) + " " + output.OneLine(e.Actor.ID, 40)), output.OneLine(e.From, 45), e.Action,
			output.OneLine(e.Object, 80), status, output.OneLine(strings.TrimSpace(strings.Join(e.Fields, ", ")+" "+e.Reason), 60),
		}
	})
}

func timeFlags(cmd *cobra.Command, since, until *string) {
	cmd.Flags().StringVar(since, "since", "", "not before: how long ago, as 90m or 7d, a day or a time")
	cmd.Flags().StringVar(until, "until", "", "not after: likewise")
}

// defaultLimit is how many items of a long list are shown.
const defaultLimit = 50

func limitFlag(cmd *cobra.Command, limit *int) {
	cmd.Flags().IntVar(limit, "limit", defaultLimit, "how many at most; 0 for all")
}
