package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// redisInfo is what Redis counts since its start: by name, the commands also as "cmdstat_NAME".
func redisInfo(ctx context.Context, rawURL string) (map[string]float64, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the URL of Redis cannot be read") // the error would quote it, and with it the password
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("asking Redis: %w", err)
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	if password, ok := u.User.Password(); ok {
		auth := []string{"AUTH", password}
		if user := u.User.Username(); user != "" {
			auth = []string{"AUTH", user, password}
		}
		if _, err := redisAsk(conn, in, auth...); err != nil {
			return nil, err
		}
	}
	text, err := redisAsk(conn, in, "INFO", "everything")
	return parseInfo(text), err
}

// redisAsk sends one command and reads its answer, a status or a bulk string.
func redisAsk(to io.Writer, from *bufio.Reader, words ...string) (string, error) {
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(to, command); err != nil {
		return "", fmt.Errorf("asking Redis: %w", err)
	}
	head, err := from.ReadString('\n')
	head = strings.TrimRight(head, "\r\n")
	if err != nil || head == "" || head[0] == '-' {
		return "", fmt.Errorf("asking Redis for %s: %w", words[0], errors.Join(errors.New(head), err))
	}
	if head[0] != '$' {
		return head[1:], nil
	}
	size, err := strconv.Atoi(head[1:])
	if err != nil || size < 0 {
		return "", fmt.Errorf("asking Redis for %s: got %q", words[0], head)
	}
	content := make([]byte, size+2)
	_, err = io.ReadFull(from, content)
	return string(content[:size]), err
}

// parseInfo reads NAME:NUMBER and cmdstat_NAME:calls=NUMBER,…
func parseInfo(text string) map[string]float64 {
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	return found
}
