# `make check` is what every change must pass; it needs pip install -c constraints-cpu.txt -e '.[dev]'.
.PHONY: check format

check:
	ruff format --check
	ruff check
	pyright
	pytest

format:
	ruff format
	ruff check --fix
