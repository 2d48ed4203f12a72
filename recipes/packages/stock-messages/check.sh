#!/bin/sh
# Fails unless every language has the keys of the English one, in its order.
set -eu

keys() {
	sed -n 's/ *=.*//p' "$1"
}

expected=$(keys en.messages)
for file in *.messages; do
	if [ "$(keys "$file")" != "$expected" ]; then
		echo "$file: its keys are not those of en.messages" >&2
		exit 1
	fi
done
