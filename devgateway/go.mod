module github.com/apisix-webhooks/apisix-webhooks/devgateway

go 1.26
