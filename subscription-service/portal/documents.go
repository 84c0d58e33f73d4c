package portal

import (
	"io"
	"net/http"
)

// showDocument hands on a document about the events of a resource, which is a page or for tools. It is no page of the portal's: it
// comes with a policy of its own.
func showDocument(name string) func(*visit) error {
	return func(v *visit) error {
		resp, err := v.api.open(v.r.Context(), http.MethodGet, "/"+v.resource()+"/events/"+name, nil)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		for _, header := range []string{"Content-Type", "Content-Security-Policy"} {
			if value := resp.Header.Get(header); value != "" {
				v.w.Header().Set(header, value)
			}
		}
		_, _ = io.Copy(v.w, resp.Body) // the browser hung up: nobody left to tell
		return nil
	}
}
