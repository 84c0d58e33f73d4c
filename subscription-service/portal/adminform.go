package portal

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// adminForm is a form of an admin on its way: what was typed, and what is wrong with it.
type adminForm struct {
	url.Values

	// Of names what is changed; empty for something new.
	Of string
	// Problem is why it was not taken; nil if it was not sent yet.
	Problem *problem
	// faults by the names of the fields; those of a row have its number behind them.
	faults map[string][]string
	// place translates a place in the API's body into a field.
	place func(location string) string
}

// Value is what was typed into a field.
func (f adminForm) Value(name string) string { return f.Get(name) }

// Has tells whether one of a field's values is this one.
func (f adminForm) Has(name, value string) bool {
	for _, v := range f.Values[name] {
		if v == value {
			return true
		}
	}
	return false
}

// Faults are what is wrong with a field.
func (f adminForm) Faults(name string) []string { return f.faults[name] }

func (f *adminForm) fault(field, message string) {
	if f.faults == nil {
		f.faults = map[string][]string{}
	}
	f.faults[field] = append(f.faults[field], message)
}

// refused takes the API's answer apart, each fault to its field. Any other error is returned.
func (f *adminForm) refused(err error) error {
	var p *problem
	if !errors.As(err, &p) || p.Status >= http.StatusInternalServerError || p.Status == http.StatusUnauthorized || p.Status == http.StatusNotFound {
		return err
	}
	for _, e := range p.Errors {
		f.fault(f.place(strings.TrimPrefix(e.Location, "body.")), e.Message)
	}
	f.Problem = p
	return nil
}

// show shows the form, with the status that suits it.
func (v *visit) showAdminForm(page, title string, f *adminForm) error {
	status := http.StatusOK
	if f.Problem != nil || f.faults != nil {
		status = http.StatusUnprocessableEntity
	}
	v.render(v.w, v.r, v, status, page, title, f)
	return nil
}

// sendForm sends what was typed, and shows the form again where it is refused.
func (v *visit) sendForm(f *adminForm, page, title, method, path string, body, into any) (sent bool, err error) {
	if f.faults == nil {
		if _, err = v.api.send(v.r.Context(), method, path, body, into); err == nil {
			return true, nil
		}
		if err = f.refused(err); err != nil {
			return false, err
		}
	}
	return false, v.showAdminForm(page, title, f)
}
