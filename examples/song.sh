#!/bin/sh
# A song by curl: `examples/song.sh http://127.0.0.1:7860 "lofi hip hop" song.wav`. The prompt may hold no quotes.
set -eu
api=$1/gradio_api
prompt=$2
target=$3

value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

event=$(curl -sS --fail-with-body "$api/call/v2/generate" -H "Content-Type: application/json" \
  -d "{\"prompt\": \"$prompt\", \"duration_s\": 10, \"seed\": 1}" | value event_id)
# A line `event: NAME`, then a line `data: JSON`: generating until complete or error.
curl -sSN "$api/call/generate/$event" | while read -r field text; do
  case $field in
    event:) name=$text ;;
    data:)
      case $name in
        generating) printf '%s\n' "$text" | sed -n 's/.*, "\([^"]*\)"\]$/\1/p' ;;
        error)
          printf 'refused: %s\n' "$text" >&2
          exit 1
          ;;
        complete) curl -sS --fail -o "$target" "$(printf '%s' "$text" | sed 's/.*"url": *"\([^"]*\)".*/\1/')" ;;
      esac
      ;;
  esac
done
