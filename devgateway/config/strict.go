package config

import (
	"errors"
	"fmt"

	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"
)

// Strict decodes raw into dst and refuses every key that dst has no field for, naming its path. Names are
// compared letter by letter and no value is converted from one type to another.
func Strict(path string, raw any, dst any) error {
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:      dst,
		TagName:     "yaml",
		ErrorUnused: true,
		MatchName:   func(key, field string) bool { return key == field },
	})
	if err != nil {
		return fmt.Errorf("preparing to read %s: %w", path, err)
	}
	if err := dec.Decode(raw); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parse(text []byte) (map[string]any, error) {
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("parsing YAML: %w", err)
	}
	if doc == nil {
		return map[string]any{}, nil
	}
	root, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("the document must be a mapping with text keys")
	}
	return root, nil
}
