# Names for what the scripts do; `make help` lists them. The build itself is
# CMake's: `make` is for people who have just arrived.
BUILD := build/release

.PHONY: all demo test bench check-asan check-tsan format format-check tidy fuzz-smoke soak clean help

all: ## build the release into build/release
	@scripts/setup build
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release
	@cmake --build $(BUILD)

demo: ## set all up and show 100 operators at work
	@scripts/demo

test: ## set all up and run all tests; the last line counts them
	@scripts/test

bench: ## run all benchmarks
	@bench/run --all

check-asan: ## unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/check asan

check-tsan: ## unit tests under ThreadSanitizer
	@scripts/check tsan

format: ## format all C sources
	@git ls-files -z -- '*.c' '*.h' | xargs -0 -r clang-format-14 -i

format-check: ## would `make format` change anything?
	@scripts/check format

tidy: ## clang-tidy
	@scripts/check tidy

fuzz-smoke: ## each fuzzer for 20 s
	@scripts/check fuzz

soak: ## ledger guests under faults and kills for SOAK_SECONDS (an hour)
	@scripts/soak

clean: ## remove build/; what was built into the cache stays
	@rm -rf build

help: ## this list
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
