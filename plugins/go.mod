module github.com/apisix-webhooks/apisix-webhooks/plugins

go 1.26

require github.com/apisix-webhooks/apisix-webhooks/internal v0.0.0

replace github.com/apisix-webhooks/apisix-webhooks/internal => ../internal
