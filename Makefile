# Everything works on a fresh Debian or Ubuntu with Go, make, git, and root or sudo. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test endings chaos bench fuzz dev up down build image picture lint tctl

coursepay := bin/coursepay
TEST_TIMEOUT ?= 20m
ENGINE ?= dev
FUZZTIME ?= 10s
CHAOS_ORDERS ?= 150
CHAOS_SEED ?= 1
CHAOS_MINUTES ?= 3

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## start the whole real stack and buy a course on it, step by step
	@$(coursepay) up
	@$(coursepay) demo
	@echo 'The stack goes on running; make down stops it.'

test: build ## run all tests, with the race detector, on real Postgres, RabbitMQ, Temporal and sandbox
	@$(coursepay) up --test
	@$(coursepay) stack tool tctl >/dev/null
	@trap '$(coursepay) down --test' EXIT; trap 'exit 130' INT TERM; \
		go test -race -timeout $(TEST_TIMEOUT) ./...

endings: build ## play every order of up to four events that can occur; ENDINGS=all: in all circumstances
	@$(coursepay) up --test
	@trap '$(coursepay) down --test' EXIT; trap 'exit 130' INT TERM; \
		ENDINGS_LENGTH=4 go test -count=1 -timeout 60m -run TestEndings ./internal/endings

chaos: build ## sell for CHAOS_MINUTES (3) on a stack of its own while everything breaks, then check every payment
	@$(coursepay) chaos --orders $(CHAOS_ORDERS) --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES)

bench: build ## start the stack and measure it: real orders beside what Temporal alone can do; BENCH='--rows 1000,100000' adds, ENGINE=postgres changes the Temporal server
	@METRICS_ADDR=$${METRICS_ADDR:-127.0.0.1:0} $(coursepay) up --engine $(ENGINE) $(if $(ENGINE_SET),--engine-set $(ENGINE_SET))
	@$(coursepay) bench --commit "$$(git describe --always --dirty)" $(BENCH)

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; for package in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z]+' $$package/*_test.go | cut -c6-); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$package; \
		done; \
	done

dev: build ## run the stack in the foreground; Ctrl-C stops all of it
	@$(coursepay) dev

up: build ## run the stack in the background; .coursepay/env tells how to reach it
	@$(coursepay) up

down: build ## stop the stack, and the services that the tests share; the stack's data stay
	@$(coursepay) down
	@$(coursepay) down --test

build: ## build bin/coursepay
	@go build -o $(coursepay) .

image: ## build the container image coursepay:dev
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/coursepay-static .
	docker build -f deploy/Dockerfile --target prebuilt -t coursepay:dev .

picture: ## take docs/picture.png anew, for the READMEs, from a real stack (needs a Chinese font: fonts-noto-cjk)
	@go test -count=1 -run '^TestPages$$/^shop$$/^all$$/^picture$$' ./internal/browser -picture $(CURDIR)/docs/picture.png

lint: build ## check the code: golangci-lint, workflowcheck, gofmt, go vet, go mod tidy
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'run gofmt -w on these files' >&2; exit 1; }
	go mod tidy -diff
	go vet ./...
	$$($(coursepay) stack tool workflowcheck) -test=false ./...
	$$($(coursepay) stack tool golangci-lint) run ./...

tctl: build ## build Temporal's older command line and print where it is
	@$(coursepay) stack tool tctl
