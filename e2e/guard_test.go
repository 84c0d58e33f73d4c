package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestHostileCallbackURLsAreRefusedThroughTheGateway(t *testing.T) {
	s := setScene(t)
	var calls errgroup.Group
	calls.SetLimit(8)
	sent := 0
	for _, hostile := range testkit.HostileURLs() {
		if hostile.Opened {
			continue // this stack has loopback and http open
		}
		sent++
		calls.Go(func() error {
			answer, err := s.consumer.Want(ctx(t), http.StatusUnprocessableEntity, "POST", s.path(), map[string]any{"callback_url": hostile.URL})
			if err == nil && !strings.Contains(string(answer.Body), `"location":"body.callback_url"`) {
				err = fmt.Errorf("%q: the field is not named: %s", hostile.URL, answer.Body)
			}
			return err
		})
	}
	require.NoError(t, calls.Wait())
	require.GreaterOrEqual(t, sent, 150)
	list, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path(), nil)
	require.NoError(t, err)
	require.Contains(t, string(list.Body), `"items":[]`)
}

func TestTheNamesOfThisMachineLeadToItWhereLoopbackIsOpen(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	for _, host := range []string{"localhost", "LOCALHOST.", "hooks.localhost"} {
		s.subscribe(t, strings.Replace(r.URL, "127.0.0.1", host, 1), nil)
	}
	s.publish(t, "one")
	_, err := r.WaitFor(ctx(t), 3)
	require.NoError(t, err)
}

// withGateway runs the gateway, and with it the egress, with settings of the test's.
func withGateway(t *testing.T, s *scene, settings ...string) {
	t.Helper()
	inPlaceOf(t, "gateway", func() bool {
		answer, err := s.Consumer("").Do(ctx(t), "POST", s.path(), nil)
		return err == nil && answer.Status == http.StatusUnauthorized
	}, settings...)
}

func TestANameThatIsReboundIsRefusedUntilItIsGoodAgain(t *testing.T) {
	control(t)
	s := setScene(t)
	dns := testkit.NewDNS(t)
	const name = "rebind.example"
	dns.Set(name, []string{"127.0.0.1"}) // what the admin has opened
	setting := "WEBHOOK_DNS=" + dns.Address
	subscriptions, _, _ := s.health()
	inPlaceOf(t, "subscription-service", func() bool {
		answer, err := world.Client{Base: subscriptions.url}.Do(ctx(t), "GET", "/readyz", nil)
		return err == nil && answer.Status == http.StatusOK
	}, setting)
	withGateway(t, s, setting)

	r := receiver(t, nil)
	r.Answers.Set("Connection", "close") // so that each callback looks the name up
	url := strings.Replace(r.URL, "127.0.0.1", name, 1)
	id, _ := s.subscribe(t, url, nil)
	s.publish(t, "before")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)

	dns.Set(name, []string{"127.0.0.1", "169.254.169.254"})
	s.publish(t, "rebound")
	var delivery string
	eventually(t, "an attempt is refused", func() bool {
		list, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+id+"/deliveries?limit=1", nil)
		require.NoError(t, err)
		var page struct {
			Items []struct {
				ID      string `json:"id"`
				EventID string `json:"event_id"`
			}
		}
		require.NoError(t, list.Decode(&page))
		if len(page.Items) == 0 || page.Items[0].EventID != "rebound" {
			return false
		}
		delivery = page.Items[0].ID
		one, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+id+"/deliveries/"+delivery, nil)
		require.NoError(t, err)
		return strings.Contains(string(one.Body), `"outcome":"address_refused"`)
	})
	require.Len(t, r.Callbacks(), 1)
	_, err = s.consumer.Want(ctx(t), http.StatusConflict, "POST", s.path()+"/"+id+"/test", nil)
	require.NoError(t, err)
	_, err = s.consumer.Want(ctx(t), http.StatusUnprocessableEntity, "POST", s.path(), map[string]any{"callback_url": url + "/else"})
	require.NoError(t, err)

	dns.Set(name, []string{"127.0.0.1"})
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.Equal(t, delivery, got[1].ID())
}

// tunnel is an egress proxy that leads all it is asked for to one endpoint.
func tunnel(t *testing.T, endpoint string) (address string, asked chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	asked = make(chan string, 100)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				from := bufio.NewReader(c)
				request, err := http.ReadRequest(from)
				if err != nil {
					return
				}
				there, err := net.Dial("tcp", endpoint)
				if err != nil {
					return
				}
				asked <- request.Method + " " + request.RequestURI + " " + request.Header.Get("Proxy-Authorization")
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				all.Go(func() { _, _ = io.Copy(there, from); _ = there.Close() })
				_, _ = io.Copy(c, there)
			})
		}
	})
	return l.Addr().String(), asked
}

func TestCallbacksGoThroughTheAdminsProxyToTheAddressThatWasVetted(t *testing.T) {
	control(t)
	s := setScene(t)
	r := receiver(t, nil)
	proxy, asked := tunnel(t, strings.Split(r.URL, "/")[2])
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"93.184.216.34"})
	dns.Set("private.example", []string{"10.0.0.1"})
	withGateway(t, s, "WEBHOOK_DNS="+dns.Address, "WEBHOOK_EGRESS_PROXY=http://me:pw@"+proxy)
	s.subscribe(t, "http://consumer.example:8080/hooks", nil)
	private, _ := s.subscribe(t, "http://private.example:8080/hooks", nil) // this service asks the system's DNS, which does not know it
	s.publish(t, "one")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.Equal(t, "CONNECT 93.184.216.34:8080 Basic bWU6cHc=", <-asked)
	eventually(t, "the private address is refused", func() bool {
		list, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+private+"/deliveries", nil)
		require.NoError(t, err)
		return strings.Contains(string(list.Body), "may not be called")
	})
	require.Empty(t, asked)
}
