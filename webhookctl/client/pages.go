package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"
)

// mostPage is the longest page that the API gives.
const mostPage = 100

// List is a list as the API answers it.
type List struct {
	Items      []json.RawMessage `json:"items"`
	NextCursor string            `json:"next_cursor,omitempty"`
}

// All reads up to limit items of a cursor-paged list, page by page; limit 0 means all. NextCursor is where to go on.
func (c *Client) All(ctx context.Context, path string, query url.Values, limit int) (List, error) {
	all := List{Items: []json.RawMessage{}, NextCursor: query.Get("cursor")}
	for {
		page, err := c.page(ctx, path, query, all.NextCursor, limit-len(all.Items), limit)
		if err != nil {
			return all, err
		}
		all.Items, all.NextCursor = append(all.Items, page.Items...), page.NextCursor
		if page.NextCursor == "" || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
	}
}

func (c *Client) page(ctx context.Context, path string, query url.Values, cursor string, left, limit int) (page List, err error) {
	asked := maps.Clone(query)
	if asked == nil {
		asked = url.Values{}
	}
	asked.Set("limit", strconv.Itoa(mostPage))
	if limit > 0 {
		asked.Set("limit", strconv.Itoa(min(left, mostPage)))
	}
	if asked.Del("cursor"); cursor != "" {
		asked.Set("cursor", cursor)
	}
	answer, err := c.Get(ctx, path, asked)
	if err != nil {
		return page, err
	}
	return page, answer.Decode(&page)
}

// Decoded reads the items of a list.
func Decoded[T any](l List) ([]T, error) {
	items := make([]T, len(l.Items))
	for i, raw := range l.Items {
		if err := json.Unmarshal(raw, &items[i]); err != nil {
			return nil, fmt.Errorf("reading item %d of the answer: %w", i, err)
		}
	}
	return items, nil
}
