package proxy

import (
	"fmt"
	"net/http"
	"strconv"
)

// ServerName is the Server header of every answer: APISIX overwrites the one of the upstream.
const ServerName = "APISIX"

var serverHeader = []string{ServerName}

// WritePage answers with a status and the page that nginx writes where there is no body.
func WritePage(w http.ResponseWriter, status int) {
	h := w.Header()
	h["Server"] = serverHeader
	if !bodyAllowed(status) {
		w.WriteHeader(status)
		return
	}
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
		"<hr><center>openresty</center>\r\n<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p>"+
		"</body>\r\n</html>\r\n", title, title)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
