package callback

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

var errSecret = fmt.Errorf("%w: the subscription's secret cannot sign; rotate it", ErrRequest)

// sign sets the headers of Standard Webhooks 1.0: a signature of each scheme that the subscription asks for, with each secret or
// key that signs now, the newest first.
func sign(header http.Header, id string, sub *contract.Subscription, now time.Time, body []byte) error {
	var signatures []string
	if sub.Signs(contract.SignatureV1) {
		v1, err := signV1(id, sub.SigningSecrets(now), now, body)
		if err != nil {
			return err
		}
		signatures = v1
	}
	if sub.Signs(contract.SignatureV1a) {
		keys, err := sub.LiveKeys(now)
		if err != nil || len(keys) == 0 {
			return errSecret
		}
		signatures = append(signatures, signV1a(id, keys, now, body)...)
	}
	if len(signatures) == 0 {
		return errSecret
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}

func signV1(id string, secrets []string, now time.Time, body []byte) ([]string, error) {
	signatures := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, errSecret // the library's error would quote a part of it
		}
		signature, err := webhook.Sign(id, now, body)
		if err != nil {
			return nil, errSecret
		}
		signatures = append(signatures, signature)
	}
	if len(signatures) == 0 {
		return nil, errSecret
	}
	return signatures, nil
}

// signV1a signs what v1 signs. The library of Standard Webhooks has no v1a in the version that there is for Go.
func signV1a(id string, keys []ed25519.PrivateKey, now time.Time, body []byte) []string {
	content := make([]byte, 0, len(id)+len(body)+24)
	content = append(append(content, id...), '.')
	content = append(strconv.AppendInt(content, now.Unix(), 10), '.')
	content = append(content, body...)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, content))
	}
	return signatures
}
