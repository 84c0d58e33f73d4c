package command

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// docsCommand writes docs/cli.md.
func docsCommand() *cobra.Command {
	return &cobra.Command{Use: "docs", Short: "Write this help as Markdown", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return reference(cmd.Root(), cmd.OutOrStdout())
	}}
}

// reference is the whole help as one page.
func reference(root *cobra.Command, to io.Writer) error {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	var page bytes.Buffer
	page.WriteString("# webhookctl\n\nMade by `webhookctl docs`: change the commands, not this file.\n\n")
	if err := describe(root, &page); err != nil {
		return err
	}
	_, err := to.Write(append(bytes.TrimRight(page.Bytes(), "\n"), '\n'))
	return err
}

func describe(cmd *cobra.Command, page *bytes.Buffer) error {
	cmd.DisableAutoGenTag = true
	if cmd.IsAdditionalHelpTopicCommand() {
		fmt.Fprintf(page, "## %s\n\n```\n%s\n```\n\n", cmd.CommandPath(), cmd.Long)
		return nil
	}
	var text bytes.Buffer
	if err := doc.GenMarkdownCustom(cmd, &text, anchor); err != nil {
		return fmt.Errorf("describing %s: %w", cmd.CommandPath(), err)
	}
	page.WriteString(brief(text.String()))
	for _, child := range cmd.Commands() {
		if !child.Hidden && child.Name() != "help" && child.Name() != "completion" {
			if err := describe(child, page); err != nil {
				return err
			}
		}
	}
	return nil
}

// brief leaves out what stands on every command alike: the flags of all commands, and the links back.
func brief(text string) string {
	text, links, _ := strings.Cut(text, "### SEE ALSO\n")
	text, _, _ = strings.Cut(text, "### Options inherited from parent commands\n")
	text = strings.TrimRight(text, "\n") + "\n\n"
	var below []string
	for line := range strings.Lines(links) {
		if name, _, _ := strings.Cut(line, "]"); strings.HasPrefix(text, "## "+parentOf(name)+"\n") && !strings.Contains(line, "webhookctl-completion") {
			below = append(below, strings.ReplaceAll(line, "\t - ", ": "))
		}
	}
	if below == nil {
		return text
	}
	return text + strings.Join(below, "") + "\n"
}

// parentOf is the command above the one in a link, "* [webhookctl keys create".
func parentOf(link string) string {
	name := strings.TrimPrefix(link, "* [")
	return name[:max(0, strings.LastIndexByte(name, ' '))]
}

// anchor makes a link within the page of a link to a command's own file.
func anchor(file string) string {
	return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
}
