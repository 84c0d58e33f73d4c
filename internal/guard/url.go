package guard

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// maxURL is the longest callback URL that is taken, in bytes.
const maxURL = 2048

// CheckURL refuses a callback URL that can never be called. A name is not looked up here: see Resolve.
func (p *Policy) CheckURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, refuse("is longer than %d bytes", maxURL)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return nil, refuse("has a space, a control character or a backslash: percent-encode it")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuse("is not a URL: write it as https://host/path")
	}
	return u, errors.Join(p.checkScheme(u), checkShape(u, raw), p.checkHost(u), checkPort(u))
}

func (p *Policy) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && p.allowHTTP:
		return nil
	case u.Scheme == "":
		return refuse("is relative: start it with https://")
	case u.Scheme == "http":
		return refuse("uses http: use https, or ask the administrator to allow http")
	}
	return refuse("has a scheme other than https: use https")
}

func checkShape(u *url.URL, raw string) error {
	switch {
	case u.User != nil:
		return refuse("has credentials in it: take them out; a subscription's auth is the place for them")
	case strings.Contains(raw, "#"):
		return refuse("has a fragment (#…): take it out")
	case u.Opaque != "":
		return refuse("has no //: write it as https://host/path")
	}
	return nil
}

// checkPort wants 80, 443 or a port above 1023 on which no other well-known protocol listens, in its plain form.
func checkPort(u *url.URL) error {
	if strings.HasSuffix(u.Host, ":") {
		return refuse("has an empty port: leave the colon out")
	}
	port := u.Port()
	if port == "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port[0] == '0' || badPort(uint16(n)) {
		return refuse("has port %s: use 443, 80, or one above 1023 that is not another protocol's", port)
	}
	return nil
}
