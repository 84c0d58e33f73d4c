package main

import "strings"

// variableNames lists every variable that anything of the project reads, one to a line, for webhookctl doctor to tell a misspelt one.
func variableNames(root string) (string, error) {
	names := map[string]bool{}
	for _, s := range sources {
		found, err := s.read(root, "", "")
		if err != nil {
			return "", err
		}
		for _, v := range found {
			names[v.name] = true
		}
	}
	gateway, err := gatewayVariables(root)
	if err != nil {
		return "", err
	}
	scripts, err := scriptRows(root)
	for _, row := range append(gateway, scripts...) { // | `NAME` | …
		names[strings.Split(row, "`")[1]] = true
	}
	return strings.Join(sorted(names), "\n") + "\n", err
}
