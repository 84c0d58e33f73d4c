package command

import (
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// raw writes an answer as it came where a program reads it; done is true then. Else it reads it.
func (a *app) raw(answer client.Answer, into any) (done bool, err error) {
	if !a.print.Human() {
		return true, a.print.Raw(answer.Body)
	}
	if err := answer.Decode(into); err != nil {
		return true, err
	}
	return false, nil
}

// show shows one thing: as it came, or quietly by a word, or all that is to be told of it.
func show[T any](a *app, answer client.Answer, word func(T) string, tell func(T)) error {
	var one T
	if done, err := a.raw(answer, &one); done {
		return err
	}
	if a.print.Quiet {
		a.print.Say("%s", word(one))
		return nil
	}
	tell(one)
	return nil
}

// showList shows a list that came as one answer.
func showList[T any](a *app, answer client.Answer, header []string, row func(T) []string) error {
	var list client.List
	if done, err := a.raw(answer, &list); done {
		return err
	}
	return showItems(a, list, header, row)
}

// showItems shows items that were put together from pages.
func showItems[T any](a *app, list client.List, header []string, row func(T) []string) error {
	if !a.print.Human() {
		return a.print.Value(list)
	}
	items, err := client.Decoded[T](list)
	if err != nil {
		return err
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = row(item)
	}
	if a.print.Quiet {
		for _, row := range rows {
			a.print.Say("%s", row[0])
		}
		return nil
	}
	a.print.Rows(header, rows)
	if list.NextCursor != "" {
		_, _ = fmt.Fprintln(a.Err, "there are more: --limit 0 shows all of them")
	}
	return nil
}

// either goes on where there is no error.
func either(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

// brokenOff is the error of a series that broke off: partial if some of it is done.
func brokenOff(done, of int, at string, err error) error {
	err = fmt.Errorf("%s: %w (%d of %d are done)", at, err, done, of)
	if done > 0 {
		return exit.With(exit.Partial, err)
	}
	return err
}
