package store

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// packSize is from how many bytes on, before they are compressed, attempts begin another pack.
const packSize = 64 << 10

// maxPack bounds what a pack can unfold to, in bytes.
const maxPack = 1 << 20

// packs are the attempts of one subscription on their way into its log: each a line of JSON, many of them compressed in one.
type packs struct {
	subscription string
	policy       contract.LogPolicy
	done         []string
	open         bytes.Buffer
}

func (p *packs) add(d contract.Delivery) {
	p.open.WriteString(encode(d))
	p.open.WriteByte('\n')
	if p.open.Len() >= packSize {
		p.close()
	}
}

// deflaters are large and slow to make.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // only for a level that there is not
	}
	return w
}}

func (p *packs) close() {
	if p.open.Len() == 0 {
		return
	}
	var out bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&out)
	_, _ = w.Write(p.open.Bytes()) // into memory: never fails
	_ = w.Close()
	p.done = append(p.done, out.String())
	p.open.Reset()
}

// split leaves the first n packs and returns the others, nil if there are none.
func (p *packs) split(n int) *packs {
	p.close()
	if len(p.done) <= n {
		return nil
	}
	more := &packs{subscription: p.subscription, policy: p.policy, done: p.done[n:]}
	p.done = p.done[:n]
	return more
}

// unpack returns the attempts of a pack, each with its delivery.
func unpack(pack string) ([]contract.Delivery, error) {
	text := json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader([]byte(pack))), maxPack))
	var all []contract.Delivery
	for {
		var d contract.Delivery
		err := text.Decode(&d)
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil || len(d.Attempts) != 1:
			return nil, fmt.Errorf("reading the log of attempts: %w: %w", ErrDamaged, err)
		}
		all = append(all, d)
	}
}
