package proxy

import (
	"fmt"
	"net/http"
	"strconv"
)

// ServerName is the Server header of every answer: APISIX overwrites the one of the upstream.
const ServerName = "APISIX"

var serverHeader = []string{ServerName}

// titles is where nginx has words of its own for a status.
var titles = map[int]string{
	http.StatusMethodNotAllowed:   "Not Allowed",
	http.StatusRequestTimeout:     "Request Time-out",
	http.StatusRequestURITooLong:  "Request-URI Too Large",
	http.StatusServiceUnavailable: "Service Temporarily Unavailable",
	http.StatusGatewayTimeout:     "Gateway Time-out",
}

func title(status int) string {
	text, own := titles[status]
	if !own {
		text = http.StatusText(status)
	}
	return strconv.Itoa(status) + " " + text
}

// closing is the statuses after which nothing more can be read from the client.
func closing(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
		return true
	}
	return false
}

// WritePage answers with a status and the page that nginx writes where there is no body.
func WritePage(w http.ResponseWriter, status int) {
	h := w.Header()
	h["Server"] = serverHeader
	if !bodyAllowed(status) {
		w.WriteHeader(status)
		return
	}
	if closing(status) {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
		"<hr><center>openresty</center>\r\n<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p>"+
		"</body>\r\n</html>\r\n", title(status), title(status))
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
