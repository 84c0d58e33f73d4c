package world

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Finder finds secrets in bytes, in every form in which something may have written them: as they are, in JSON, in a URL, in
// hexadecimal, and in base64, in the middle of other bytes too. What "whsec_" begins is looked for in its bytes as well.
type Finder struct {
	first [1 << 10]uint64 // a bit for each hash of the first bytes of a form
	forms map[[shortest]byte][]form
}

type form struct {
	name string
	text []byte
}

// shortest is how long a form is at least: what is shorter stands in too many places by chance.
const shortest = 8

// NewFinder looks for secrets by their names. One that is too short to be told from anything else is an error.
func NewFinder(secrets map[string]string) (*Finder, error) {
	f := &Finder{forms: map[[shortest]byte][]form{}}
	for name, secret := range secrets {
		if len(secret) < shortest+4 {
			return nil, fmt.Errorf("%s has %d bytes: a secret to look for needs %d", name, len(secret), shortest+4)
		}
		f.add(name, []byte(secret))
		if _, text, ok := strings.Cut(secret, "_"); ok && strings.HasPrefix(secret, "whs") {
			f.addForm(name+" without its prefix", []byte(text))
			if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
				f.add(name+", decoded", raw)
			}
		}
	}
	return f, nil
}

func (f *Finder) add(name string, secret []byte) {
	f.addForm(name, secret)
	quoted, _ := json.Marshal(string(secret)) // text: never fails
	f.addForm(name+" in JSON", quoted[1:len(quoted)-1])
	f.addForm(name+" in a URL", []byte(url.QueryEscape(string(secret))))
	f.addForm(name+" in a URL's path", []byte(url.PathEscape(string(secret))))
	f.addForm(name+" in hexadecimal", []byte(hex.EncodeToString(secret)))
	f.addForm(name+" in hexadecimal", []byte(strings.ToUpper(hex.EncodeToString(secret))))
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, shift), secret...))
			f.addForm(name+" in base64", []byte(text[(shift*8+5)/6:(shift+len(secret))*8/6])) // what others' bits have no part in
		}
	}
}

func (f *Finder) addForm(name string, text []byte) {
	if len(text) < shortest {
		return
	}
	start := [shortest]byte(text[:shortest])
	if slices.ContainsFunc(f.forms[start], func(other form) bool { return bytes.Equal(other.text, text) }) {
		return
	}
	f.forms[start] = append(f.forms[start], form{name, text})
	word, bit := slot(start[:])
	f.first[word] |= bit
}

// slot is where the bit of eight bytes stands.
func slot(start []byte) (word int, bit uint64) {
	hash := binary.LittleEndian.Uint64(start) * 0x9e3779b97f4a7c15 >> 48
	return int(hash >> 6), 1 << (hash & 63)
}

// In returns which secrets are in a text and in which form, each once.
func (f *Finder) In(text []byte) (found []string) {
	for i := 0; i+shortest <= len(text); i++ {
		word, bit := slot(text[i : i+shortest])
		if f.first[word]&bit == 0 {
			continue
		}
		for _, form := range f.forms[[shortest]byte(text[i:i+shortest])] {
			if bytes.HasPrefix(text[i:], form.text) && !slices.Contains(found, form.name) {
				found = append(found, form.name)
			}
		}
	}
	return found
}
