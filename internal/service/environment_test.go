package service_test

import (
	"strings"
	"testing"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
)

func TestAnUnreadableVariableIsNamedAndItsValueIsNot(t *testing.T) {
	t.Setenv("TEST_SWITCH", "hunter2")
	t.Setenv("TEST_NUMBER", "hunter2")
	_, err := service.Environment[struct {
		Switch bool `env:"TEST_SWITCH"`
		Number int  `env:"TEST_NUMBER" envDefault:"1"`
	}]()
	if err == nil || !strings.Contains(err.Error(), "TEST_SWITCH") || !strings.Contains(err.Error(), "TEST_NUMBER") {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the value is repeated: %v", err)
	}
}
