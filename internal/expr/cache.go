package expr

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache keeps what is compiled, by its text: many subscriptions share a text. What does not compile is kept as that. It is
// safe for concurrent use.
type Cache struct {
	filters    *lru.Cache[string, compiled[*Filter]]
	transforms *lru.Cache[string, compiled[*Transform]]

	ofFilters, ofTransforms lookups
}

type compiled[T any] struct {
	made T
	err  error
}

// NewCache keeps size filters and size transforms, those used last; one of each at least.
func NewCache(size int) *Cache {
	filters, _ := lru.New[string, compiled[*Filter]](max(1, size))       // fails for a size below one only
	transforms, _ := lru.New[string, compiled[*Transform]](max(1, size)) // likewise
	return &Cache{filters: filters, transforms: transforms}
}

// Filter compiles a filter, checked against no data, unless it is there.
func (c *Cache) Filter(text string) (*Filter, error) {
	return through(c.filters, &c.ofFilters, text, CompileFilter)
}

// Transform compiles a transform, checked against no data, unless it is there.
func (c *Cache) Transform(text string) (*Transform, error) {
	return through(c.transforms, &c.ofTransforms, text, CompileTransform)
}

func through[T any](cache *lru.Cache[string, compiled[T]], counted *lookups, text string, compile func(string, *Data) (T, error)) (T, error) {
	found, ok := cache.Get(text)
	if ok {
		counted.hits.Add(1)
	} else {
		counted.misses.Add(1)
		found.made, found.err = compile(text, nil)
		cache.Add(text, found)
	}
	if found.err != nil {
		return found.made, fmt.Errorf("compiling: %w", found.err)
	}
	return found.made, nil
}
