package filter

import (
	"fmt"
	"net/http"
	"slices"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// headerLimit is how many headers APISIX shows to a plugin. At that many there may be more, which nobody could remove.
const headerLimit = 100

// single are headers that decide what a call may do; of several values, two readers could take different ones.
var single = []string{"Apikey", "Authorization", "Content-Type"}

// CheckHeaders refuses calls whose headers cannot be judged: too many of them, or several values for one that counts.
func CheckHeaders(h http.Header) *Refusal {
	count := 0
	for name, values := range h {
		count += len(values)
		if len(values) > 1 && (slices.Contains(single, name) || contract.IsInternalHeader(name)) {
			return RefuseAs(contract.KindUnsafeHeaders, fmt.Sprintf("the header %s has several values: send one", contract.Printable(name)))
		}
	}
	if count >= headerLimit {
		return RefuseAs(contract.KindUnsafeHeaders, fmt.Sprintf("the request has too many headers: send fewer than %d", headerLimit))
	}
	return nil
}

// StripInternal removes every header that only the gateway may set.
func StripInternal(h pkgHTTP.Header) {
	for name := range h.View() {
		if contract.IsInternalHeader(name) {
			h.Del(name)
		}
	}
}
