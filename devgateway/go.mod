module github.com/apisix-webhooks/apisix-webhooks/devgateway

go 1.26.0

require (
	github.com/api7/ext-plugin-proto v0.6.1
	github.com/go-viper/mapstructure/v2 v2.4.0
	github.com/google/flatbuffers v2.0.0+incompatible
	go.uber.org/zap v1.28.0
	go.yaml.in/yaml/v3 v3.0.5
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.uber.org/multierr v1.10.0 // indirect
)
