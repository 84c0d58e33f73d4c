package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed assets
var assetFiles embed.FS

// asset is one file that pages refer to, by an address that changes with it.
type asset struct {
	hash, mediaType string
	plain, gzipped  []byte
}

// assets are all files by their names.
var assets = sync.OnceValue(func() map[string]asset {
	all := map[string]asset{}
	err := fs.WalkDir(assetFiles, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := assetFiles.ReadFile(name)
		sum := sha256.Sum256(raw)
		all[path.Base(name)] = asset{hex.EncodeToString(sum[:8]), mime.TypeByExtension(path.Ext(name)), raw, compressed(raw)}
		return err
	})
	if err != nil {
		panic("portal: the embedded files cannot be read: " + err.Error()) // they are part of the program
	}
	return all
})

func compressed(raw []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // a level that there is
	_, _ = w.Write(raw)                                   // into memory
	_ = w.Close()
	return b.Bytes()
}

// assetPath is the address of a file below the portal's base.
func assetPath(name string) string { return "/portal/assets/" + assets()[name].hash + "/" + name }

func (s *site) asset(w http.ResponseWriter, r *http.Request) {
	found, ok := assets()[r.PathValue("name")]
	if !ok || found.hash != r.PathValue("hash") {
		s.missing(w, r)
		return
	}
	w.Header().Set("Content-Type", found.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Vary", "Accept-Encoding")
	body := found.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		body = found.gzipped
	}
	_, _ = w.Write(body) // the client hung up: nobody left to tell
}
