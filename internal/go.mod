module github.com/apisix-webhooks/apisix-webhooks/internal

go 1.26
